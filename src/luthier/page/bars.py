"""A histogram as inline SVG: upright bars over named edges, and marks where a limit lies.

Knows nothing of what is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from luthier.page.charts import format_tick, round_ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 22, 44
_MAX_EDGES_NAMED = 12
_GAP = 2.0


@dataclass(frozen=True, slots=True)
class Bin:
    """How many lie from `low` to under `high`; a last bin without `high` reaches to any value."""

    low: float
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar for each bin, equally wide; `marks` are values with a name, drawn as upright lines where they lie."""

    title: str
    bins: Sequence[Bin]
    x_label: str
    y_label: str = "rows"
    marks: Sequence[tuple[float, str]] = ()
    width: int = 920
    height: int = 240
    colour: int = 1


def draw_bars(shown: Bars) -> str:
    """The histogram as a `<figure>`."""
    head = f"<figcaption><h3>{escape(shown.title)}</h3></figcaption>"
    if not any(one.count for one in shown.bins):
        return f'<figure>{head}<p class="empty">Nothing was counted.</p></figure>'
    ticks = [tick for tick in round_ticks(0, max(one.count for one in shown.bins), 4) if tick == int(tick)]
    parts = [_grid(shown, ticks), *(_bar(shown, i, ticks[-1]) for i in range(len(shown.bins)))]
    parts += [_edges(shown), *(_mark(shown, at, name) for at, name in shown.marks)]
    frame = f'viewBox="0 0 {shown.width} {shown.height}" role="img" aria-label="{escape(_spoken(shown))}"'
    return f'<figure class="chart">{head}<svg class="plot" {frame}>{"".join(parts)}</svg></figure>'


def _spoken(shown: Bars) -> str:
    most = max(shown.bins, key=lambda one: one.count)
    total = sum(one.count for one in shown.bins)
    return f"{shown.title}. {total:,} {shown.y_label}; most, {most.count:,}, have {_range(most)} {shown.x_label}."


def _range(one: Bin) -> str:
    low = format_tick(one.low)
    return f"{low} and more" if one.high is None else f"{low} to under {format_tick(one.high)}"


def _at_index(shown: Bars, index: float) -> float:
    return _LEFT + index / len(shown.bins) * (shown.width - _LEFT - _RIGHT)


def _at_value(shown: Bars, value: float) -> float | None:
    """Where a value lies; None outside of the closed bins."""
    for index, one in enumerate(shown.bins):
        if one.high is not None and one.low <= value <= one.high:
            return _at_index(shown, index + (value - one.low) / (one.high - one.low))
    return None


def _at_count(shown: Bars, count: float, highest: float) -> float:
    return shown.height - _BOTTOM - count / highest * (shown.height - _TOP - _BOTTOM)


def _grid(shown: Bars, ticks: Sequence[float]) -> str:
    right, bottom = shown.width - _RIGHT, shown.height - _BOTTOM
    parts = []
    for tick in ticks:
        y = _at_count(shown, tick, ticks[-1])
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{format_tick(tick)}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="14" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle})">{escape(shown.y_label)}</text>'
    )
    return "".join(parts)


def _bar(shown: Bars, index: int, highest: float) -> str:
    """A bar, and over its whole column an invisible band whose hover title tells it: a low bar is hard to hit."""
    left, right = _at_index(shown, index), _at_index(shown, index + 1)
    bottom = shown.height - _BOTTOM
    one = shown.bins[index]
    top = _at_count(shown, one.count, highest)
    if one.count:
        top = min(top, bottom - 1.0)  # one row among a million is still to be seen
    title = f"{one.count:,} {shown.y_label}: {_range(one)} {shown.x_label}"
    return (
        f'<rect class="bar series-{shown.colour}" x="{left + _GAP / 2:.1f}" y="{top:.1f}" '
        f'width="{max(1.0, right - left - _GAP):.1f}" height="{bottom - top:.1f}"/>'
        f'<rect class="band" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" '
        f'height="{bottom - _TOP}"><title>{escape(title)}</title></rect>'
    )


def _edges(shown: Bars) -> str:
    bottom = shown.height - _BOTTOM
    last = shown.bins[-1].high
    edges = [format_tick(one.low) for one in shown.bins] + ["more" if last is None else format_tick(last)]
    stride = -(-len(edges) // _MAX_EDGES_NAMED)
    parts = []
    for index in range(0, len(edges), stride):
        x = _at_index(shown, index)
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{edges[index]}</text>'
        )
    middle = (_LEFT + shown.width - _RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle:.1f}" y="{shown.height - 6}" text-anchor="middle">'
        f"{escape(shown.x_label)}</text>"
    )
    return "".join(parts)


def _mark(shown: Bars, at: float, name: str) -> str:
    x = _at_value(shown, at)
    if x is None:
        return ""
    anchor = "end" if x > shown.width / 2 else "start"
    return (
        f'<line class="mark" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{shown.height - _BOTTOM}"/>'
        f'<text class="tick" x="{x + (-6 if anchor == "end" else 6):.1f}" y="{_TOP - 2}" '
        f'text-anchor="{anchor}">{escape(name)}</text>'
    )
