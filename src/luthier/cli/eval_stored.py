"""`luthier eval list` and `luthier eval show`: what was asked before, from the folder's own file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.evaluation.store import EvalStore, Stored

Folder = Annotated[Path, typer.Option(help="The folder of `luthier eval --out`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN_CHARACTERS = 200


def list_stored(folder: Folder = Path("evaluations"), json: Json = False) -> None:
    """List evaluations, newest first: also those that were cut off."""
    from rich.table import Table
    from rich.text import Text

    found = _store(folder).all()
    if json:
        print_json([one.to_dict() for one in found])
        return
    table = Table("number", "model", "task", "answers", "right", "asked", box=None)
    for one in found:
        table.add_row(
            str(one.number),
            Text(one.model_name),
            Text(one.task),
            f"{one.num_answered}/{one.num_items}",
            "" if one.accuracy is None else f"{one.accuracy:.1%}",
            f"{one.created[:16].replace('T', ' ')} {_manner(one)}",
        )
    console().print(table)


def show(
    number: Annotated[int, typer.Argument(help="The number that `luthier eval list` shows.")],
    folder: Folder = Path("evaluations"),
    failed: Annotated[bool, typer.Option("--failed", help="Only answers that are not right.")] = False,
    json: Json = False,
) -> None:
    """Show one evaluation: every prompt, answer, verdict and reason."""
    from dataclasses import asdict

    from luthier.evaluation.graders import VerdictWord

    stored, results = _store(folder).find(number)
    if failed:
        results = [one for one in results if one.verdict is not VerdictWord.PASSED]
    if json:
        print_json({**stored.to_dict(), "answers": [asdict(one) for one in results]})
        return
    screen = console()
    screen.print(
        f"{stored.model_name} on {stored.task}: {stored.num_passed} of {stored.num_graded} right, "
        f"{stored.num_answered} of {stored.num_items} answered; {_manner(stored)}",
        markup=False,
    )
    for one in results:
        lines = (
            f"{one.id}  {one.verdict}: {one.reason}",
            f"  asked     {_end(one.prompt)}",
            f"  answered  {_beginning(one.answer)}",
        )
        screen.print("\n".join(lines), markup=False, soft_wrap=True)


def _beginning(text: str) -> str:
    """What fits on a screen, line breaks spelled."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")


def _end(text: str) -> str:
    """Of a prompt, the end: the question stands behind the system prompt."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"...{text[-_SHOWN_CHARACTERS:]}")


def _store(folder: Path) -> "EvalStore":
    from luthier.errors import EvaluationError
    from luthier.evaluation.store import FILE_NAME, EvalStore

    if not (folder / FILE_NAME).is_file():
        raise EvaluationError(
            f"{folder}: nothing was evaluated into this folder; luthier eval --out says where"
        )
    return EvalStore(folder)


def _manner(one: "Stored") -> str:
    settings = one.asked["settings"]
    parts = [settings["decoding"]]
    if settings["temperature"]:
        parts.append(f"temperature {settings['temperature']:g}, seed {settings['seed']}")
    parts += ["system prompt"] if one.asked["system_prompt"] else []
    parts += [f"repeat {one.asked['repeat']}"] if one.asked["repeat"] else []
    return ", ".join(parts)
