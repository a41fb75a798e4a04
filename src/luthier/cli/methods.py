"""`luthier methods`: what can train, side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, model_ref, print_json, quiet_libraries

if TYPE_CHECKING:
    from luthier.models.method_table import MethodFacts


def methods(
    model: Annotated[
        str | None, typer.Option(help="Count what trains on this model: embedded name, folder or hub id.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the training methods: what trains, what it costs, what it risks, and where its numbers come from."""
    from luthier.models.method_table import METHODS

    counts: Mapping[str, tuple[int, int] | None] = {}
    if model is not None:
        quiet_libraries()
        counts = _counts(model_ref(model))
    if json:
        print_json([_as_json(name, facts, counts, model) for name, facts in METHODS.items()])
        return
    screen = console()
    for name, facts in METHODS.items():
        screen.print(f"[bold]{name}[/bold]: {facts.trains}")
        if model is not None:
            screen.print(f"  on {model}: {_share(counts.get(name))}", highlight=False)
        for label, value in _rows(facts):
            screen.print(f"  {label}: {value}", highlight=False)
    if model is not None:
        screen.print("Counted with the default settings of each method.")


def _rows(facts: "MethodFacts") -> list[tuple[str, str]]:
    words = {True: "yes", False: "no"}
    return [
        ("memory beyond the base", facts.memory),
        ("cost of an answer beyond the base's", facts.inference),
        ("mergeable", words[facts.mergeable]),
        ("several served over one base", words[facts.together]),
        ("rows of a step", {"forest": "share a forest", "padding": "are padded"}[facts.packing]),
        ("risk of forgetting", facts.forgetting),
        ("learning rate", f"{facts.learning_rate:g} ({facts.rate_from})"),
        ("source", facts.paper),
    ]


def _share(count: tuple[int, int] | None) -> str:
    if count is None:
        return "depends on your settings"
    return f"{count[0]:,} parameters train, {count[0] / count[1]:.2%} of all"


def _as_json(
    name: str, facts: "MethodFacts", counts: Mapping[str, tuple[int, int] | None], model: str | None
) -> dict[str, Any]:
    from dataclasses import asdict

    one = {"name": name, **asdict(facts)}
    if model is not None:
        count = counts.get(name)
        one["parameters"] = {"trained": count[0], "all": count[1]} if count else None
    return one


def _counts(ref: str) -> dict[str, tuple[int, int] | None]:
    """(trained, all) of each method on this model; no weight is read, only shapes are made."""
    from luthier.models.load import find_model, load_config
    from luthier.models.method_table import METHODS
    from luthier.models.methods.count import count_on_shapes
    from luthier.training.method_config import default_method

    config = load_config(find_model(ref).base)
    return {
        name: count_on_shapes(config, method) if (method := default_method(name)) is not None else None
        for name in METHODS
    }
