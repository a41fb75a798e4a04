"""One row at a time in a terminal, and a key for what is thought of it.

Knows nothing of how rows were drawn and of how verdicts are kept.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.data.review import Judged, Review
    from luthier.data.sample import Sample, SampledRow

KEYS = "a accept   r reject   e edit   s skip   n note   b back   q quit"
_VERDICTS = {"a": "accepted", "r": "rejected", "s": "skipped"}
_COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}


def read_rows_aloud(screen: Any, sample: "Sample", review: "Review") -> None:
    """Show the rows that have no verdict yet, until all have one or the reader quits."""
    import click

    from luthier.cli.data.keys import Keys

    rows, keys = sample.rows, Keys()
    at = next((i for i, row in enumerate(rows) if review.of(row) is None), len(rows))
    note: str | None = None
    shown = -1
    while at < len(rows):
        row, judged = rows[at], review.of(rows[at])
        with keys.listening():
            if shown != at:
                _show(screen, row, at, len(rows), judged)
                shown, note = at, judged.note if judged else None
            key = keys.next()
        if key in ("q", "\x04", None):
            return
        if key == "b":
            at, shown = max(0, at - 1), -1
        elif key == "n":
            note = click.prompt("note", default=note or "", show_default=bool(note)) or None
        elif key == "e":
            edited = _edit(screen, row, judged)
            if edited is not None:
                review.judge(row, "edited", edited=edited, note=note)
                at = _next(review, rows, at)
        elif key in _VERDICTS:
            review.judge(row, _VERDICTS[key], note=note)  # type: ignore[arg-type]
            at = _next(review, rows, at)


def _next(review: "Review", rows: "tuple[SampledRow, ...]", at: int) -> int:
    return next((i for i in range(at + 1, len(rows)) if review.of(rows[i]) is None), len(rows))


def _show(screen: Any, row: "SampledRow", at: int, total: int, judged: "Judged | None") -> None:
    from rich.rule import Rule
    from rich.text import Text

    verdict = f", {judged.verdict}" if judged else ""
    screen.print()
    screen.print(Rule(Text(f"{at + 1} of {total}: {row.row.where}{verdict}", style="bold"), align="left"))
    value = judged.edited if judged and judged.edited is not None else None
    for who, text in _texts(row, value):
        screen.print(Text(f"{who}: ", style=f"bold {_COLOURS.get(who, 'white')}") + Text(_safe(text)))
    screen.print(Text(KEYS, style="dim"))


def _texts(row: "SampledRow", edited: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Who says what: the turns; of a document its text; of a row that is not understood its fields."""
    example = row.checked.example
    if edited is not None or example is None:
        if row.checked.problem is not None and edited is None:
            yield "not understood", row.checked.problem
        yield "row", json.dumps(row.row.value if edited is None else edited, indent=2, ensure_ascii=False)
        return
    if example.kind == "text":
        yield "text", example.text or ""
        return
    for turn in row.checked.messages:
        if turn.reasoning:
            yield f"{turn.role} thinks", turn.reasoning
        calls = json.dumps([dict(call.arguments) | {"tool": call.name} for call in turn.tool_calls])
        yield turn.role, turn.content + (f" {calls}" if turn.tool_calls else "")
    for turn in example.rejected:
        yield "rejected", turn.content


def _safe(text: str) -> str:
    """What a terminal would obey is shown instead."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _edit(screen: Any, row: "SampledRow", judged: "Judged | None") -> dict[str, Any] | None:
    """The row as it comes back from the editor; None where it was not changed, or is no row any more."""
    import click
    from rich.text import Text

    from luthier.data.checks.row import check_row
    from luthier.data.rows import Row

    value = judged.edited if judged and judged.edited is not None else row.row.value
    try:
        text = click.edit(json.dumps(value, indent=2, ensure_ascii=False) + "\n", extension=".json")
        edited = None if text is None else json.loads(text)
    except (click.ClickException, ValueError) as error:
        screen.print(Text(f"not taken: {error}", style="red"))
        return None
    if edited is None or edited == row.row.value:
        screen.print("not changed")
        return None
    if not isinstance(edited, dict):
        screen.print(Text("not taken: expected a JSON object", style="red"))
        return None
    checked = check_row(Row(row.row.file, row.row.number, edited), row.checked.key, "train")
    if checked.problem is not None:
        screen.print(Text(f"not taken: {checked.problem}", style="red"))
        return None
    return edited
