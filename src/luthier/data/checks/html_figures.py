"""The figures of a report as tables and histograms, laid out by their form: whatever a check adds is shown.

Bins (`from`, `to`, `count`) become a histogram; a mapping of splits, or of mappings with the same names, becomes a
table; everything else a list of names and values. Names stand as in the report's JSON, since some come from the data:
labels, languages. Knows nothing of single checks.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.data.checks.finding import SPLIT_WORDS, SPLITS
from luthier.page import html
from luthier.page.bars import Bars, Bin, draw_bars

_MAX_ROWS = 100
_MAX_ROWS_OPEN = 20
_MAX_PAIRS_IN_LINE = 12
_BIN = {"from", "to", "count"}


def render_figures(figures: Mapping[str, Any]) -> Iterator[str]:
    """A section for each figure that holds something; `characters` and `tokens` are lengths in these units."""
    for name in sorted(
        figures, key=lambda name: name not in _TITLES
    ):  # lengths first, the others as they come
        figure = figures[name]
        if _holds_something(figure):
            yield f"<h2>{html.text(_TITLES.get(name, _words(name).capitalize()))}</h2>{_lay_out(figure, '', name)}"


_TITLES = {"characters": "Lengths in characters", "tokens": "Lengths in tokens"}


def _lay_out(figure: Any, title: str, unit: str) -> str:
    if isinstance(figure, Mapping):
        return _lay_out_mapping(figure, title, unit)
    if _is_table(figure):
        return _table_of_rows(figure, title)
    return _pairs({title: figure}, "")


def _lay_out_mapping(figure: Mapping[str, Any], title: str, unit: str) -> str:
    """Histograms first, then what makes one table together, then the others one by one."""
    bins = {name: one for name, one in figure.items() if _is_bins(one)}
    parts = [_histogram(one, title or name, unit, figure.get("max_length")) for name, one in bins.items()]
    left = {name: one for name, one in figure.items() if name not in bins and _holds_something(one)}
    for names in _tables(left):
        parts.append(_side_by_side({name: left.pop(name) for name in names}, title))
    plain = {name: left.pop(name) for name in list(left) if _is_plain(left[name])}
    if plain:
        parts.append(_pairs(plain, "" if parts else title))
    for name, one in left.items():
        words = _name(name)
        parts.append(_lay_out(one, f"{title}: {words}" if title else words, unit))
    return "".join(parts)


def _tables(figure: Mapping[str, Any]) -> list[list[str]]:
    """Names of mappings that make a table together: two or more with the same names."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, one in figure.items():
        if isinstance(one, Mapping) and _is_flat(one):
            groups.setdefault(tuple(one), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _pairs(figure: Mapping[str, Any], title: str) -> str:
    """A line where they are few, else a table."""
    named = list(figure.items())
    title = title[:1].upper() + title[1:]
    return (
        html.pairs(named, title) if len(named) <= _MAX_PAIRS_IN_LINE else _table(("", "value"), named, title)
    )


def _histogram(bins: Sequence[Mapping[str, Any]], title: str, unit: str, limit: object) -> str:
    marks = [(float(limit), "max_length")] if isinstance(limit, int) else []
    drawn = [Bin(one["from"], one["to"], one["count"]) for one in bins]
    return draw_bars(Bars(title[:1].upper() + title[1:], drawn, unit, marks=marks))


def _side_by_side(figures: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """Names down, mappings across where they are splits; else a line for each mapping."""
    names = list(dict.fromkeys(name for one in figures.values() for name in one))
    if figures.keys() <= set(SPLITS):
        rows = [(name, *(one.get(name) for one in figures.values())) for name in names]
        return _table(("", *map(_name, figures)), rows, title)
    rows = [(name, *(one.get(key) for key in names)) for name, one in figures.items()]
    return _table(("", *names), rows, title)


def _table_of_rows(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return _table(columns, [[row.get(name) for name in columns] for row in rows], title)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> str:
    more = len(rows) - _MAX_ROWS
    left = f'<p class="quiet">And {more:,} more.</p>' if more > 0 else ""
    title = title[:1].upper() + title[1:]
    if len(rows) <= _MAX_ROWS_OPEN:
        return html.table_of(columns, rows, title)
    table = html.table_of(columns, rows[:_MAX_ROWS])
    return f"<details><summary>{html.text(title)}: {len(rows):,} lines</summary>{table}{left}</details>"


def _holds_something(one: Any) -> bool:
    if isinstance(one, Mapping):
        return any(map(_holds_something, one.values()))
    return one is not None and one != []


def _is_plain(one: Any) -> bool:
    return not isinstance(one, Mapping) and not _is_table(one)


def _is_flat(one: Mapping[str, Any]) -> bool:
    return bool(one) and all(map(_is_plain, one.values()))


def _is_table(one: Any) -> bool:
    return (
        isinstance(one, list | tuple)
        and bool(one)
        and all(isinstance(row, Mapping) and _is_flat(row) for row in one)
    )


def _is_bins(one: Any) -> bool:
    return _is_table(one) and all(row.keys() == _BIN for row in one)


def _name(name: str) -> str:
    return next((words for split, words in SPLIT_WORDS.items() if split == name), name)


def _words(name: str) -> str:
    return name.replace("_", " ")
