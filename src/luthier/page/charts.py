"""Line charts as inline SVG: axes, round ticks, a legend and hover titles, without a script.

Colours come from CSS classes (`series-1`, ...), so that the page decides on light, dark and print.
Knows nothing of what is drawn: named lines over a shared x axis.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 44
_MAX_POINTS = 600
_MAX_HOVER_BANDS = 160

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: points in order of x. `faint` is a background line, `marked` has a dot per point."""

    name: str
    points: Sequence[Point]
    colour: int
    faint: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw. `x_range` and `y_range` fix an axis that else fits the lines; `best` marks one point."""

    title: str
    lines: Sequence[Line]
    x_label: str = "step"
    y_label: str = ""
    width: int = 920
    height: int = 320
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    best: Point | None = None
    best_name: str = "best"


def draw(chart: Chart) -> str:
    """The chart as a `<figure>`: title, legend, drawing. Lines without points are left out."""
    lines = [line for line in chart.lines if line.points]
    said_by_title = [line.name.lower() for line in lines] == [chart.title.lower()]
    legend = "" if said_by_title else "".join(_legend_entry(line) for line in lines)
    if chart.best is not None:
        legend += _legend_item(_ring(12, 6), chart.best_name)
    head = f'<figcaption><h3>{escape(chart.title)}</h3><ul class="legend">{legend}</ul></figcaption>'
    if not lines:
        return f'<figure>{head}<p class="empty">Nothing was recorded.</p></figure>'
    return f'<figure class="chart">{head}{_svg(chart, lines)}</figure>'


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Ticks at 1, 2 or 5 times a power of ten that cover `low` to `high`; about `count` of them."""
    if high <= low:
        high = low + (abs(low) * 0.1 or 1.0)
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def format_tick(value: float) -> str:
    """A number as short as it can be read: `0.5`, `12,000`, `2e-4`."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def thin(points: Sequence[Point], limit: int = _MAX_POINTS) -> list[Point]:
    """At most about `limit` points: each stretch keeps its lowest and its highest."""
    if len(points) <= limit:
        return list(points)
    stretch = math.ceil(len(points) / (limit // 2))
    kept: list[Point] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        low, high = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        kept += sorted({low, high})
    return kept


def _svg(chart: Chart, lines: Sequence[Line]) -> str:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low_x, high_x = chart.x_range or (min(xs), max(xs))
    low_y, high_y = chart.y_range or (min(ys), max(ys))
    ticks_y = round_ticks(low_y, high_y)
    low_y, high_y = ticks_y[0], ticks_y[-1]
    span_x = (high_x - low_x) or 1.0
    inner_width, inner_height = chart.width - _LEFT - _RIGHT, chart.height - _TOP - _BOTTOM

    def at_x(x: float) -> float:
        return _LEFT + (x - low_x) / span_x * inner_width

    def at_y(y: float) -> float:
        return _TOP + (high_y - y) / (high_y - low_y) * inner_height

    ticks_x = [x for x in round_ticks(low_x, high_x, 8) if low_x <= x <= high_x and x == int(x)]
    parts = [_grid(chart, ticks_x or [low_x], ticks_y, at_x, at_y)]
    parts += [_path(line, at_x, at_y) for line in lines]
    parts.append(_hover_bands(chart, lines, at_x))
    parts += [
        _dots(line, chart.x_label, at_x, at_y) for line in lines if line.marked or len(line.points) == 1
    ]
    if chart.best is not None:
        parts.append(_ring(at_x(chart.best[0]), at_y(chart.best[1])))
    label = escape(f"{chart.title}. " + " ".join(_spoken(line, chart.x_label) for line in lines))
    frame = f'viewBox="0 0 {chart.width} {chart.height}" role="img" aria-label="{label}"'
    return f'<svg class="plot" {frame}>{"".join(parts)}</svg>'


def _spoken(line: Line, x_label: str) -> str:
    (first_x, first_y), (last_x, last_y) = line.points[0], line.points[-1]
    return (
        f"{line.name}: {format_tick(first_y)} at {x_label} {first_x:g}, "
        f"{format_tick(last_y)} at {x_label} {last_x:g}."
    )


def _grid(
    chart: Chart,
    ticks_x: Sequence[float],
    ticks_y: Sequence[float],
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
) -> str:
    right, bottom = chart.width - _RIGHT, chart.height - _BOTTOM
    parts = []
    for y in ticks_y:
        parts.append(_stroke("grid", _LEFT, at_y(y), right, at_y(y)))
        parts.append(_label("tick", _LEFT - 8, at_y(y) + 4, format_tick(y), anchor="end"))
    parts.append(_stroke("axis", _LEFT, bottom, right, bottom))
    for x in ticks_x:
        parts.append(_stroke("axis", at_x(x), bottom, at_x(x), bottom + 5))
        parts.append(_label("tick", at_x(x), bottom + 19, format_tick(x)))
    parts.append(_label("label", (_LEFT + right) / 2, chart.height - 6, chart.x_label))
    if chart.y_label:
        middle = (_TOP + bottom) / 2
        parts.append(_label("label", 14, middle, chart.y_label, turn=f' transform="rotate(-90 14 {middle})"'))
    return "".join(parts)


def _stroke(look: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _label(look: str, x: float, y: float, text: str, *, anchor: str = "middle", turn: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}'
    return f'<text class="{look}" {place}>{escape(text)}</text>'


def _path(line: Line, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    corners = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in thin(line.points))
    return f'<polyline class="{_look(line)}" data-line="{escape(line.name)}" points="{corners}"/>'


def _dots(line: Line, x_label: str, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    return "".join(
        f'<circle class="dot series-{line.colour}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5">'
        f"<title>{escape(x_label)} {x:g} · {escape(line.name)} {format_tick(y)}</title></circle>"
        for x, y in line.points
    )


def _hover_bands(chart: Chart, lines: Sequence[Line], at_x: Callable[[float], float]) -> str:
    """Invisible upright bands over the plot; the browser shows each one's title: the values at that step."""
    steps = sorted({x for line in lines for x, _ in line.points})
    if len(steps) > _MAX_HOVER_BANDS:
        stride = len(steps) / _MAX_HOVER_BANDS
        steps = [steps[int(index * stride)] for index in range(_MAX_HOVER_BANDS)]
    values = [(line.name, dict(line.points)) for line in lines]
    middles = [(at_x(left) + at_x(right)) / 2 for left, right in pairwise(steps)]
    edges = [_LEFT, *middles, chart.width - _RIGHT]
    bands = []
    for index, step in enumerate(steps):
        left, right = edges[index], edges[index + 1]
        shown = [f"{name} {format_tick(points[step])}" for name, points in values if step in points]
        title = escape(f"{chart.x_label} {step:g} · " + " · ".join(shown))
        bands.append(
            f'<rect class="band" x="{left:.1f}" y="{_TOP}" width="{max(0.0, right - left):.1f}" '
            f'height="{chart.height - _TOP - _BOTTOM}"><title>{title}</title></rect>'
        )
    return "".join(bands)


def _legend_entry(line: Line) -> str:
    dot = f'<circle class="dot series-{line.colour}" cx="12" cy="6" r="3.5"/>' if line.marked else ""
    return _legend_item(f'<polyline class="{_look(line)}" points="1,6 23,6"/>{dot}', line.name)


def _legend_item(key: str, name: str) -> str:
    return f'<li><svg class="key" viewBox="0 0 24 12" aria-hidden="true">{key}</svg>{escape(name)}</li>'


def _ring(x: float, y: float) -> str:
    return f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'


def _look(line: Line) -> str:
    return f"curve series-{line.colour}{' faint' if line.faint else ''}"
