"""`luthier demo`: the main job on the embedded model and data, then two specialists on one base; each step one line."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, quiet_libraries

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.cli.demo_serving import ServedTwo
    from luthier.pipeline.make import Outcome, SpecialistJob


def demo(
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
    model: Annotated[str, typer.Option(help="The base to tune.")] = "luthier-nano",
    method: Annotated[
        str,
        typer.Option(
            help="How it is tuned: lora (an adapter, served beside another one), or full (every weight)."
        ),
    ] = "lora",
    seed: Annotated[int, typer.Option(help="Seed of the data and of the training.")] = 0,
    fresh: Annotated[bool, typer.Option(help="Forget steps that were done before.")] = False,
) -> None:
    """Make a rugby-league specialist: check, train, evaluate, compare, merge, verify, ask, gate; serve two at once."""
    import time

    from rich.text import Text

    from luthier.cli.demo_serving import serve_two
    from luthier.demo.recipe import RECIPES
    from luthier.errors import ConfigError, Interrupted
    from luthier.pipeline.make import make_specialist
    from luthier.training.progress import Progress

    quiet_libraries()
    if method not in RECIPES:
        raise ConfigError(f"--method {method}: expected one of {', '.join(RECIPES)}")
    screen, started = console(), time.perf_counter()
    for done in ("steps", "gate", "units") if fresh else ():
        shutil.rmtree(folder / done, ignore_errors=True)
    job = _job(model, RECIPES[method], seed, folder)
    screen.print(f"[bold]A rugby-league specialist from {model}[/bold]\n")

    def say(name: str, line: str) -> None:
        screen.print(Text(f"{name:<17} ", style="bold") + Text(line, style="not bold"), soft_wrap=True)

    try:
        outcome = make_specialist(job, say, Progress(console(stderr=True)))
        served = None
        if method == "lora":
            served = serve_two(folder, model, seed, outcome.specialist, say, Progress(console(stderr=True)))
        else:
            say(
                "serve",
                "whole weights cannot share a base with others: luthier demo --method lora serves two",
            )
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; to continue: luthier demo --folder {folder}") from None
    _table(screen, outcome, served)
    screen.print(f"\n{time.perf_counter() - started:.0f} s. Report: {outcome.run_folder / 'report.html'}\n")
    _next_commands(screen, outcome)


def _job(model: str, recipe: dict[str, Any], seed: int, folder: Path) -> "SpecialistJob":
    """What the demo makes first; its data is written."""
    from luthier.demo.dataset import CLOSING_QUESTION, write_demo_dataset
    from luthier.demo.recipe import POLICY, PROMPTS
    from luthier.evaluation.gate import Policy
    from luthier.pipeline.make import SpecialistJob

    paths = write_demo_dataset(folder / "data", seed)
    facts = paths["facts_prompt"].read_text(encoding="utf-8").strip()
    return SpecialistJob(
        base=model,
        train=paths["train"],
        valid=paths["valid"],
        test=paths["test"],
        other=paths["other"],
        ordinary=paths["ordinary"],
        name="rugby-league",
        policy=Policy.model_validate(POLICY),
        prompts={name: prompt.format(facts=facts) for name, prompt in PROMPTS.items()},
        question=CLOSING_QUESTION,
        folder=folder,
        recipe={**recipe, "train": {**recipe["train"], "seed": seed}},
        max_new_tokens=recipe["evaluation"]["max_new_tokens"],
    )


def _table(screen: "Console", outcome: "Outcome", served: "ServedTwo | None") -> None:
    from rich.table import Table

    run, comparison = outcome.run, outcome.comparison
    table = Table(show_header=False, title="\nWhat was done and what it gave", title_justify="left")
    share = run["trainable"] / run["parameters"]
    table.add_row(
        "method",
        f"{run['method']}: {run['trainable']:,} of {run['parameters']:,} weights train ({share:.1%})",
    )
    table.add_row("train loss", f"{run['train_loss']:.3f} (last step)")
    table.add_row("validation loss", f"{run['validation_loss']:.3f} (best)")
    table.add_row("peak memory", f"{run['peak_memory_bytes'] / 1e9:.2f} GB")
    table.add_row("speed", f"{run['tokens_per_second']:,.0f} tokens/s in {run['dtype']}")
    for entry in comparison.entries:
        low, high = entry.interval.low, entry.interval.high
        table.add_row(
            f"accuracy, {entry.label}", f"{entry.tally.accuracy:.1%} (95% interval {low:.1%} to {high:.1%})"
        )
    for pair in comparison.pairs:
        table.add_row(
            f"{pair.second} against {pair.first}",
            f"{pair.difference:+.1%} ({pair.interval.low:+.1%} to {pair.interval.high:+.1%}), "
            f"exact McNemar p = {pair.p_adjusted:.2g}: {pair.verdict.value}",
        )
    for kind in ("single", "combined"):
        tallies = comparison.by_tag[kind]
        cells = ", ".join(
            f"{entry.label} {tally.accuracy:.0%}"
            for entry, tally in zip(comparison.entries, tallies, strict=True)
        )
        table.add_row(f"  {kind} facts", cells)
    tuned = outcome.other.entries[-1]
    table.add_row(
        "other questions",
        f"{tuned.tally.accuracy:.1%} of {tuned.tally.num_graded} answered without the field's numbers",
    )
    if served is not None:
        second = served.second
        table.add_row(
            "unit conversions",
            f"{second.accuracy:.1%} of {second.num_items} right, {second.num_json} of them JSON "
            f"({second.run['trainable']:,} weights, {second.run['seconds']:.0f} s)",
        )
        table.add_row("router", served.routing)
    screen.print(table)
    screen.print(f"\nGate: {outcome.specialist} against {outcome.gate['champion']['name']}", markup=False)
    for reason in outcome.gate["reasons"]:
        screen.print(f"  {reason['criterion']:<13} {reason['outcome']}: {reason['text']}", markup=False)
    screen.print(f"[bold]{outcome.gate['word']}[/bold]")


def _next_commands(screen: "Console", outcome: "Outcome") -> None:
    screen.print("Next:")
    screen.print(f"  luthier chat {outcome.run_folder}", markup=False)
    folder = outcome.run_folder.parent
    store = f"LUTHIER_SPECIALISTS={folder / 'specialists'}"
    screen.print(f"  {store} luthier specialists", markup=False)
    alone = ",peft,gguf-lora" if outcome.run["method"] == "lora" else ""
    screen.print(
        f"  {store} luthier export {outcome.specialist} --to hf{alone},gguf:q4_k_m,ollama --out {folder / 'shipped'}",
        markup=False,
        soft_wrap=True,
    )
    if outcome.run["method"] == "lora":
        screen.print(
            f"  {store} luthier serve rugby-league units --router {folder / 'router'}",
            markup=False,
            soft_wrap=True,
        )
    screen.print("  luthier data check YOUR.jsonl --valid YOUR-valid.jsonl", markup=False)
    screen.print(
        "  luthier train --data YOUR.jsonl --valid YOUR-valid.jsonl --model Qwen/Qwen3-0.6B", markup=False
    )
