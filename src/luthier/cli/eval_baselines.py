"""`luthier eval baselines`: what prompts alone reach, and whether training was worth it.

Imports nothing heavy at its top.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json, quiet_libraries, read_text_option

if TYPE_CHECKING:
    from luthier.evaluation.baselines import Worth
    from luthier.evaluation.runner import EvalResult
    from luthier.evaluation.tasks.definition import Task

Files = list[Path] | None
_STYLES = {"train": "bold green", "do not train": "bold red", "not enough evidence": "yellow"}


def baselines(
    model: Annotated[
        str, typer.Argument(help="What was trained: a run, an adapter, a specialist; or a base.")
    ],
    task: Annotated[Path, typer.Option(help="A task (YAML).")],
    base: Annotated[str | None, typer.Option(help="The base, where MODEL does not say it.")] = None,
    train: Annotated[Files, typer.Option(help="Training files for the examples. Default: the run's.")] = None,
    documents: Annotated[
        Files, typer.Option(help="Documents to look things up in. Default: the run's.")
    ] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="A system prompt to try, or @FILE; may be given several times.")
    ] = None,
    shots: Annotated[int, typer.Option(min=0, help="Examples before the question.")] = 4,
    passages: Annotated[int, typer.Option(min=1, help="Passages before the question.")] = 3,
    margin: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="A baseline so much worse is still as good.")
    ] = 0.05,
    out: Annotated[Path, typer.Option(help="Where every prompt, answer and verdict is kept.")] = Path(
        "evaluations"
    ),
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked at once.")] = 32,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16; of local models.")] = "auto",
    unsafe_execution: Annotated[
        bool, typer.Option("--unsafe-execution", help="Run answers of code tasks where no wall holds.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Zero-shot, few-shot, other prompts, retrieval: is the trained model better than all of them?"""
    from luthier.cli import eval_tasks, eval_ways
    from luthier.cli.eval_models import Opening, opened, system_prompt
    from luthier.errors import ConfigError
    from luthier.evaluation.baselines import worth
    from luthier.evaluation.store import EvalStore

    quiet_libraries()
    asked = eval_tasks.read(task, unsafe_execution=unsafe_execution)
    if documents and asked.ask == "likelihood":
        raise ConfigError(f"--documents has no effect on {asked.name}, whose choices are scored; remove it")
    origin = eval_ways.origin(model)
    before = base or origin.base
    given = [str(path) for path in train or ()] or origin.train
    materials = eval_ways.Materials.read(given, documents or (), origin.no_train)
    prompts = [text for text in map(read_text_option, system or ()) if text is not None]
    named = [(f"prompt {number}", text) for number, text in enumerate(prompts, start=1)]
    ways, notes = materials.ways(asked, named, shots, passages)
    manner, store = eval_tasks.Manner(None, max_new_tokens, batch_size), EvalStore(out)
    with opened(before or model, Opening(dtype)) as answerer:
        results, unfit = eval_ways.ask_ways(answerer, asked, ways, manner, store, out)
    verdict = None
    if before is not None and before != model:
        own = replace(manner, system=system_prompt(model, None, asked.generation.system))
        with opened(model, Opening(dtype)) as answerer:
            results.append(eval_ways.ask_and_save(answerer, asked, own, store, out))
        verdict = worth(results[:-1], results[-1], margin=margin)
    _tell(asked, results, verdict, notes + unfit, json)


def _tell(
    task: "Task", results: "list[EvalResult]", verdict: "Worth | None", notes: list[str], as_json: bool
) -> None:
    from luthier.evaluation.tasks.scores import score

    if as_json:
        scored = [score(task.items, task.graders, result) for result in results]
        rows: list[dict[str, Any]] = [
            {**result.summary(), "label": result.label, "graders": [one.to_dict() for one in figures]}
            for result, figures in zip(results, scored, strict=True)
        ]
        told = verdict.to_dict() if verdict is not None else None
        print_json({"task": task.name, "results": rows, "verdict": told, "notes": notes})
        return
    show(task, results, verdict, notes)


def show(task: "Task", results: "list[EvalResult]", verdict: "Worth | None", notes: list[str]) -> None:
    """One row per way to ask, what was left out, and the word."""
    from luthier.cli import eval_tasks
    from luthier.evaluation.tasks.scores import score

    scored = [score(task.items, task.graders, result) for result in results]
    console().print(eval_tasks.side_by_side(task, results, scored, verdict.pairs if verdict else ()))
    show_notes(notes)
    if verdict is not None:
        console().print(
            f"{verdict.word}: {verdict.reason}", style=_STYLES[verdict.word], markup=False, soft_wrap=True
        )


def show_notes(notes: list[str]) -> None:
    """What was left out, and why."""
    for note in notes:
        console().print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
