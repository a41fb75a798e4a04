"""A verdict for people: lines for the terminal, and a page. Knows nothing of how the verdict came to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from luthier.evaluation.gate.evidence import GateVerdict, Outcome, Reason, Word
from luthier.page import html

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {
    Word.SHIP: "bold green",
    Word.HOLD: "bold yellow",
    Word.REJECT: "bold red",
    Word.NOT_ENOUGH: "bold yellow",
}
_OUTCOME_STYLES = {
    Outcome.MET: "green",
    Outcome.MISSED: "red",
    Outcome.NOT_ENOUGH: "yellow",
    Outcome.NOT_MEASURED: "dim",
}
_LOOKS: dict[str, html.Look] = {
    Word.SHIP: "good",
    Word.REJECT: "bad",
    Outcome.MET: "good",
    Outcome.MISSED: "bad",
    Outcome.NOT_MEASURED: "quiet",
}


def summary(verdict: GateVerdict) -> str:
    """The verdict in one line: its word, and the criteria that it rests on."""
    behind = [reason.criterion for reason in verdict.reasons if reason.asks_for is verdict.word]
    met = sum(reason.outcome is Outcome.MET for reason in verdict.reasons)
    why = (
        f": {', '.join(behind)}"
        if behind
        else f": {met} of {len(verdict.reasons)} criteria met, none against it"
    )
    return verdict.word.value + why


def render_verdict(verdict: GateVerdict) -> RenderableType:
    """The word, a line for each reason, the warnings."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for reason in verdict.reasons:
        style = _OUTCOME_STYLES[reason.outcome]
        table.add_row(reason.criterion, Text(reason.outcome.value, style=style), Text(_told(reason)))
    parts: list[RenderableType] = [Text(f"{verdict.candidate.name} against {verdict.champion.name}"), table]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in verdict.warnings]
    parts.append(Padding(Text(summary(verdict), style=_STYLES[verdict.word]), (1, 0, 0, 0)))
    return Group(*parts)


def render_page(verdict: GateVerdict) -> str:
    """The verdict as a page in one file, without network and without scripts."""
    sides = f"{verdict.candidate.name} against {verdict.champion.name}"
    pill = html.pill(verdict.word.value, _LOOKS.get(verdict.word, "wait"))
    warnings = "".join(f"<pre>{html.text(warning)}</pre>" for warning in verdict.warnings)
    sections = [
        html.header("Gate", pill, sides),
        "<h2>Reasons</h2>"
        + html.table(_row("th", "criterion", "outcome", "evidence"), "".join(_reasons(verdict))),
        f"<h2>Warnings</h2>{warnings}" if warnings else "",
        "<h2>Evaluation sets</h2>"
        + html.table_of(
            ("for", "set", "items", "candidate", "against", "hash"),
            [
                (one["role"], one["path"], one["num_items"], one["candidate"], one["against"], one["hash"])
                for one in verdict.sets
            ],
        ),
        "<h2>What was compared</h2>" + html.table_of(("", "name", "hash"), _sides(verdict)),
        f"<h2>Policy</h2>{html.table_of(('key', 'value'), list(_leaves(verdict.policy)))}",
    ]
    title = f"{verdict.word.value}: {sides}"
    return html.render_frame(title, sections, f"Written by luthier gate. Policy {verdict.policy_hash}.")


def _told(reason: Reason) -> str:
    return f"{reason.text} -> {reason.asks_for.value}" if reason.asks_for else reason.text


def _row(tag: str, *cells: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.text(cell)}</{tag}>" for cell in cells) + "</tr>"


def _reasons(verdict: GateVerdict) -> Iterator[str]:
    for reason in verdict.reasons:
        pill = html.pill(reason.outcome.value, _LOOKS.get(reason.outcome, "wait"))
        yield (
            f'<tr><th scope="row">{html.text(reason.criterion)}</th><td>{pill}</td>'
            f"<td>{html.text(_told(reason))}</td></tr>"
        )


def _sides(verdict: GateVerdict) -> Iterator[tuple[str, str, str]]:
    for what, side in (
        ("candidate", verdict.candidate),
        ("champion", verdict.champion),
        ("base", verdict.base),
    ):
        if side is not None:
            yield what, side.name, side.hash


def _leaves(values: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{prefix}{key}.")
    else:
        yield prefix.rstrip("."), values
