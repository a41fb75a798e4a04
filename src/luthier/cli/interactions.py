"""`luthier interactions`: what was asked of the server, what it answered, and what people said of it.

Imports nothing heavy at its top.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.serving.recorder import Recorded

app = typer.Typer(
    name="interactions", help="What the server was asked and answered, with feedback.", no_args_is_help=True
)

Record = Annotated[Path, typer.Argument(metavar="RECORD", help="The SQLite file of luthier serve --record.")]
Since = Annotated[str | None, typer.Option(help="From this time on: 2026-11-21, or with hours.")]
OfSpecialist = Annotated[str | None, typer.Option("--specialist", help="NAME, or NAME@3.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    pass


@app.command(name="list")
def list_interactions(
    record: Record,
    since: Since = None,
    specialist: OfSpecialist = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    json: Json = False,
) -> None:
    """List interactions, the newest last."""
    from luthier.serving.recorder import read_interactions

    found = read_interactions(record, since=_time(since), specialist=specialist, limit=limit)
    if json:
        print_json([_shown(one) for one in found])
        return
    screen = console()
    for one in found:
        it = one.interaction
        outcome = f"{it.outcome}{' (shadow)' if it.shadow_of else ''}"
        cells = (it.id, it.created[:19], f"{it.specialist or 'base':<16}", outcome, _said(one), _asked(one))
        screen.print("  ".join(filter(None, cells)), markup=False, soft_wrap=True)


@app.command()
def show(
    record: Record,
    id: Annotated[str, typer.Argument(help="An interaction's id, or its only beginning.")],
    json: Json = False,
) -> None:
    """Show one interaction: turns, answers, who answered and why, feedback."""
    from luthier.serving.recorder import find_interaction

    one = find_interaction(record, id)
    if json:
        print_json(_shown(one))
        return
    it, lines = one.interaction, []
    lines += [f"{it.id}  {it.created}  {it.outcome}  {it.specialist or 'base'} (asked for {it.model})"]
    lines += [f"  {it.decision['why']}"] if it.decision and "why" in it.decision else []
    lines += [f"{message.role}: {message.content}" for message in it.messages]
    lines += [f"prompt: {it.prompt}"] if it.prompt is not None else []
    lines += [f"answer {i}: {text}" for i, text in enumerate(it.answers, start=1)]
    lines += [f"  {it.usage.num_prompt}+{it.usage.num_generated} tokens in {it.total_seconds:.3f} s"]
    for said in one.feedback:
        told = {name: getattr(said, name) for name in ("thumb", "rating", "correction", "comment")}
        lines += [
            f"said {said.created[:19]}: " + ", ".join(f"{k} {v}" for k, v in told.items() if v is not None)
        ]
    for line in lines:
        console().print(line, markup=False, soft_wrap=True)


@app.command()
def export(
    record: Record,
    out: Annotated[Path, typer.Option(help="The JSON lines to write, in the messages format.")],
    since: Since = None,
    specialist: OfSpecialist = None,
    liked: Annotated[
        bool, typer.Option("--liked", help="Only with a thumb up, a rating of 4 or 5, or a correction.")
    ] = False,
) -> None:
    """Write answered interactions as rows that luthier data reads; a correction stands for the answer."""
    import json

    from luthier.files import atomic_file
    from luthier.serving.recorder import read_interactions
    from luthier.serving.recorder.export import is_liked, training_row

    num_read = num_written = 0
    with atomic_file(out) as file:
        for one in read_interactions(record, since=_time(since), specialist=specialist):
            num_read += 1
            row = training_row(one) if not liked or is_liked(one) else None
            if row is not None:
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
                num_written += 1
    console().print(
        f"{out}: {num_written} rows of {num_read} interactions; look at them: luthier data check {out}",
        markup=False,
        soft_wrap=True,
    )


def _time(since: str | None) -> str | None:
    """As the record writes times: UTC."""
    from datetime import UTC, datetime

    from luthier.errors import ConfigError

    if since is None:
        return None
    try:
        found = datetime.fromisoformat(since)
    except ValueError:
        raise ConfigError(
            f"--since {since!r}: expected a time such as 2026-11-21 or 2026-11-21T08:30"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()[:19]


def _shown(one: "Recorded") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(one.interaction), "feedback": [asdict(said) for said in one.feedback]}


def _said(one: "Recorded") -> str:
    thumb = {1: "up", -1: "down", None: ""}[one.thumb]
    parts = (thumb, f"{one.rating}/5" if one.rating else "", "corrected" if one.correction else "")
    return " ".join(filter(None, parts))


def _asked(one: "Recorded") -> str:
    turns = [message.content for message in one.interaction.messages if message.role == "user"]
    text = " ".join((turns[-1] if turns else one.interaction.prompt or "").split())
    return text if len(text) <= 48 else f"{text[:47]}…"
