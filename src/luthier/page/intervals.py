"""Estimates with their intervals as inline SVG: a line of text each, a dot on its bar, over one shared axis of shares.

Knows nothing of what was estimated and how.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 250, 110, 8, 34
_ROW = 30
_MAX_NAME = 34
_WIDTH = 920


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share from 0 to 1 (a difference: from -1 to 1) with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float
    colour: int = 1


def draw_intervals(title: str, estimates: Sequence[Estimate], *, signed: bool = False) -> str:
    """The estimates as a `<figure>`. `signed`: differences, with a mark at no difference."""
    head = f"<figcaption><h3>{escape(title)}</h3></figcaption>"
    if not estimates:
        return f'<figure>{head}<p class="empty">Nothing was measured.</p></figure>'
    low, high = _range(estimates, signed)
    height = _TOP + _ROW * len(estimates) + _BOTTOM
    rows = [_row(one, index, low, high, signed) for index, one in enumerate(estimates)]
    parts = [_axis(low, high, height, signed), *rows]
    spoken = f"{title}. " + " ".join(f"{one.name}: {_told(one, signed)}." for one in estimates)
    frame = f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(spoken)}"'
    return f'<figure class="chart">{head}<svg class="plot" {frame}>{"".join(parts)}</svg></figure>'


def _range(estimates: Sequence[Estimate], signed: bool) -> tuple[float, float]:
    if not signed:
        return 0.0, 1.0
    reach = max(0.05, *(max(abs(one.low), abs(one.high)) for one in estimates))
    reach = min(1.0, -(-reach // 0.05) * 0.05)
    return -reach, reach


def _at(value: float, low: float, high: float) -> float:
    return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _axis(low: float, high: float, height: int, signed: bool) -> str:
    bottom, parts = height - _BOTTOM, []
    for index in range(5):
        value = low + (high - low) * index / 4
        x = _at(value, low, high)
        look = "mark" if signed and index == 2 else "grid"
        parts.append(f'<line class="{look}" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{_percent(value, signed)}</text>'
        )
    return "".join(parts)


def _row(one: Estimate, index: int, low: float, high: float, signed: bool) -> str:
    y = _TOP + _ROW * (index + 0.5)
    left, right, dot = (_at(value, low, high) for value in (one.low, one.high, one.value))
    name = one.name if len(one.name) <= _MAX_NAME else one.name[: _MAX_NAME - 1] + "…"
    return (
        f"<g><title>{escape(one.name)}: {escape(_told(one, signed))}</title>"
        f'<text class="tick" x="{_LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        f'<line class="curve series-{one.colour}" x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>'
        f'<circle class="dot series-{one.colour}" cx="{dot:.1f}" cy="{y:.1f}" r="5"/>'
        f'<text class="tick" x="{_WIDTH - _RIGHT + 14}" y="{y + 4:.1f}">{_percent(one.value, signed)}</text></g>'
    )


def _told(one: Estimate, signed: bool) -> str:
    value, low, high = (_percent(number, signed) for number in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def _percent(value: float, signed: bool) -> str:
    return f"{100 * value:+.1f}%" if signed else f"{100 * value:.1f}%"
