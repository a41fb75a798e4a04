"""`luthier sandbox`: attack the wall that model-written code is run behind, on this machine."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.sandbox.check import Finding

app = typer.Typer(
    name="sandbox", help="The wall that model-written code is run behind.", no_args_is_help=True
)
_STYLES = {"held": "green", "through": "bold red", "open": "yellow"}


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    level: Annotated[
        Literal["bubblewrap", "namespaces", "landlock"] | None,
        typer.Option(help="Attack this wall, not the strongest that holds."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run every attack against the wall, in seconds; exit with 1 where one gets through or no wall holds."""
    from luthier.errors import SandboxError
    from luthier.sandbox.attacks import ATTACKS
    from luthier.sandbox.check import findings
    from luthier.sandbox.levels import find_level
    from luthier.sandbox.words import Level

    with console(stderr=True).status("attacking the wall"):
        wall = Level(level) if level else find_level().level
        if wall is Level.NONE:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in find_level().missing.items())
            raise SandboxError(f"no wall holds on this machine ({reasons}). Install bubblewrap")
        found = findings(wall, ATTACKS)
    num_through = sum(finding.word == "through" for finding in found)
    if json:
        print_json({"level": wall.value, "through": num_through, "attacks": [_facts(f) for f in found]})
    else:
        _print(wall.value, found, num_through)
    if num_through:
        raise typer.Exit(1)


def _facts(finding: "Finding") -> dict[str, object]:
    return {
        "name": finding.attack.name,
        "goal": finding.attack.goal,
        "word": finding.word,
        "evidence": finding.evidence,
        "outcome": finding.execution.outcome.value,
        "seconds": round(finding.execution.seconds, 3),
    }


def _print(level: str, found: "list[Finding]", num_through: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("attack", "what it is after", "", "evidence", box=None)
    for finding in found:
        word = Text(finding.word, style=_STYLES[finding.word])
        table.add_row(finding.attack.name, finding.attack.goal, word, Text(finding.evidence))
    screen = console()
    screen.print(table)
    num_open = sum(finding.word == "open" for finding in found)
    known = f", {num_open} known to be open at this level" if num_open else ""
    held = len(found) - num_through - num_open
    screen.print(f"\n{level}: {held} of {len(found)} attacks held{known}, {num_through} got through")
