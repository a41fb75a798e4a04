"""`luthier selftest`: that the trainer is right on your model and your rows, before a run is paid for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json, quiet_libraries
from luthier.cli.train import RecipeAndOverrides, named_options, recipe_layers

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.training.selftest import Proof

_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def selftest(
    recipe_and_overrides: RecipeAndOverrides = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Training rows: a file, or dataset:NAME; may be repeated.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Embedded name, folder or hub id.")] = None,
    method: Annotated[str | None, typer.Option(help="A name of luthier methods.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show on your model and rows that mask, packing, accumulation, resume, seed and saving are exact."""
    from luthier.training.plan import plan_job
    from luthier.training.selftest import run_selftest

    quiet_libraries()
    options = named_options(model, method)
    if data:
        options["data"] = {"train": data}
    layers, stem = recipe_layers(recipe_and_overrides or [], options)
    screen, progress = console(stderr=json), console(stderr=True)
    with progress.status("reading and rendering the data") as status:
        plan = plan_job(layers, where=stem)
        recipe = plan.recipe
        if not json:
            screen.print(
                f"{recipe.model.name or 'a new model'}, {recipe.method.name}, {recipe.objective.name}: "
                f"{plan.train_rows.num_rows} rows, computing in {plan.dtype_name} on {plan.device}\n"
            )
        proofs = run_selftest(
            plan,
            begin=lambda name: status.update(f"testing: {name}"),
            tell=(lambda name, proof: None) if json else (lambda name, proof: _print(screen, name, proof)),
        )
    words = [proof.word.value for proof in proofs.values()]
    if json:
        print_json([_as_json(name, proof) for name, proof in proofs.items()])
    else:
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        seconds = sum(proof.seconds for proof in proofs.values())
        screen.print(f"\n[bold]{counts}[/bold] in {seconds:.0f} s")
    raise typer.Exit(1 if "failed" in words else 0)


def _print(screen: "Console", name: str, proof: "Proof") -> None:
    from rich.text import Text

    from luthier.cli.data.show import coloured
    from luthier.page.html import printable

    def line(text: str, style: str = "") -> None:
        screen.print(Text(printable(text, screen.encoding), style=style), soft_wrap=True)

    word = Text(f"{proof.word.value:<8}", style=_STYLES[proof.word.value])
    why = Text(printable(f" {proof.why}", screen.encoding))
    screen.print(word + Text(f" {name:<14}", style="bold") + why, soft_wrap=True)
    numbers = [f"{key}: {_number(value)}" for key, value in proof.numbers.items()]
    line(f"         {', '.join([*numbers, f'{proof.seconds:.1f} s'])}", "dim")
    if proof.picture:
        in_colour = screen.color_system is not None
        parts = [{"text": text, "weight": float(learnt)} for text, learnt in proof.picture]
        line(f"         learnt is what stands {'in green' if in_colour else 'between ⟦ and ⟧'}:", "dim")
        screen.print(coloured(parts, in_colour), soft_wrap=True)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if value >= 1e-2 or value == 0 else f"{value:.2g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_number(one) for one in value) + "]"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _as_json(name: str, proof: "Proof") -> dict[str, Any]:
    return {
        "test": name,
        "word": proof.word.value,
        "why": proof.why,
        "numbers": dict(proof.numbers),
        "picture": [{"text": text, "learnt": learnt} for text, learnt in proof.picture],
        "seconds": round(proof.seconds, 2),
    }
