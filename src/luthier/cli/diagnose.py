"""`luthier diagnose`: what a run's curve says, and what to try next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.training.diagnose import Diagnosis


def diagnose(
    run: Annotated[Path, typer.Argument(help="The folder of a run, also one that still trains.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Name a run's curve (healthy, overfitting, diverged, ...) with the evidence and what to try next."""
    from luthier.registry.runs import open_run
    from luthier.training.diagnose import diagnose_run

    found = diagnose_run(open_run(run))
    if json:
        print_json(
            {
                "word": found.word.value,
                "why": found.why,
                "advice": found.advice,
                "numbers": dict(found.numbers),
                "spikes": list(found.spikes),
                "rows": found.rows.as_json() if found.rows else None,
            }
        )
        return
    print_diagnosis(console(), found)
    numbers = [
        f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value:,}"
        for key, value in found.numbers.items()
    ]
    console().print(", ".join(numbers), style="dim", markup=False)


def print_diagnosis(screen: "Console", found: "Diagnosis") -> None:
    """The word, the evidence, the advice, and the spikes."""
    from rich.text import Text

    from luthier.page.html import printable

    for number, line in enumerate(found.lines):
        screen.print(Text(printable(line, screen.encoding), style="" if number else "bold"), soft_wrap=True)
