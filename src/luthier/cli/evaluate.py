"""`luthier eval` and `luthier compare`: answers, verdicts, and what they prove."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import eval_perplexity, eval_plan
from luthier.cli.common import console, load, print_json, read_text_option
from luthier.cli.default_verb import DefaultVerb

if TYPE_CHECKING:
    from luthier.evaluation.runner import EvalResult

app = typer.Typer(
    cls=DefaultVerb,
    help="Ask models every item and grade the answers (`run`, which needs no name: `luthier eval MODEL...`).",
    no_args_is_help=True,
)

Items = Annotated[Path | None, typer.Option(help="Evaluation items (JSONL).")]
System = Annotated[str | None, typer.Option(help="A system prompt, or @FILE.")]
NewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Batch = Annotated[int, typer.Option(min=1, help="Questions asked at once.")]
Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]


@app.callback()
def _eval() -> None:
    """Ask models every item and grade the answers (`run`, which needs no name: `luthier eval MODEL...`)."""


@app.command("run")
def evaluate(
    models: Annotated[list[str], typer.Argument(help="Runs, folders, embedded names or hub ids.")],
    items: Items = None,
    task: Annotated[
        list[Path] | None, typer.Option(help="A task (YAML); may be given several times.")
    ] = None,
    system: System = None,
    out: Annotated[Path, typer.Option(help="Where every prompt, answer and verdict is kept.")] = Path(
        "evaluations"
    ),
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens: 64, or what the task says.")
    ] = None,
    batch_size: Batch = 32,
    dtype: Dtype = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask models every item and grade the answers. Greedy decoding, the training template."""
    from luthier.cli import eval_tasks
    from luthier.errors import ConfigError
    from luthier.evaluation.runner import save_result

    tasks = [eval_tasks.read(path) for path in task or ()]
    if items is not None:
        tasks.insert(0, eval_tasks.of_items(items))
    if not tasks:
        raise ConfigError("expected --items FILE or --task FILE, found neither")
    prompt = read_text_option(system)
    summaries = []
    for ref in models:
        loaded = load(ref, dtype=dtype)
        for one in tasks:
            result, scores = eval_tasks.ask(loaded, ref, one, prompt, max_new_tokens, batch_size)
            path = out / f"{_slug(ref)}{_prompt_mark(result.system_prompt)}-{one.name}.jsonl"
            save_result(result, path)
            summaries.append(eval_tasks.summary(result, one, scores, path))
        del loaded
    if json:
        print_json(summaries)
        return
    for one in tasks:
        console().print(eval_tasks.table([entry for entry in summaries if entry["task"] == one.name], one))
    for entry in summaries:
        console().print(f"answers: {entry['answers']}", soft_wrap=True)


app.command("plan")(eval_plan.plan)
app.command("perplexity")(eval_perplexity.perplexity)


def compare(
    models: Annotated[
        list[str],
        typer.Argument(help="Two or more: saved answers (.jsonl of `luthier eval`), or models with --items."),
    ],
    items: Items = None,
    system: System = None,
    max_new_tokens: NewTokens = 64,
    batch_size: Batch = 32,
    dtype: Dtype = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare models on the same items: exact McNemar test, bootstrap interval, table per tag."""
    from luthier.errors import EvaluationError
    from luthier.evaluation.compare import compare as compare_results
    from luthier.evaluation.compare import render_comparison
    from luthier.evaluation.runner import load_result

    results: list[EvalResult] = []
    for ref in models:
        if ref.endswith(".jsonl"):
            results.append(load_result(Path(ref)))
        elif items is None:
            raise EvaluationError(
                f"{ref} is a model: give --items FILE to ask it, or name answers saved by luthier eval"
            )
        else:
            results.append(ask(ref, items, system, max_new_tokens, batch_size, dtype))
    comparison = compare_results(results)
    if json:
        print_json(comparison.to_dict())
    else:
        console().print(render_comparison(comparison))


def ask(
    ref: str, items: Path, system: str | None, max_new_tokens: int, batch_size: int, dtype: str
) -> "EvalResult":
    """Load a model and put every item to it, with a progress bar on stderr."""
    from rich.progress import Progress

    from luthier.data.places import resolve_file
    from luthier.evaluation.answerer import ModelAnswerer
    from luthier.evaluation.runner import evaluate as run_evaluation
    from luthier.evaluation.task import load_items

    loaded_items = load_items(resolve_file(items, "test"))
    answerer = ModelAnswerer(load(ref, dtype=dtype), name=ref)
    with Progress(console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task(ref, total=len(loaded_items))
        return run_evaluation(
            answerer,
            loaded_items,
            system_prompt=read_text_option(system),
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _prompt_mark(system: str | None) -> str:
    """Two prompts on one model are two measurements, kept in two files."""
    from luthier.hashing import hash_text

    return f"-prompt-{hash_text(system).removeprefix('sha256:')[:6]}" if system else ""


def _slug(ref: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in ref.strip("./"))
