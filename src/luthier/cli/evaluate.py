"""`luthier eval` and `luthier compare`: answers, verdicts, and what they prove."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import eval_baselines, eval_harness, eval_perplexity, eval_plan, eval_stored
from luthier.cli.common import console, print_json, read_text_option
from luthier.cli.default_verb import DefaultVerb
from luthier.cli.eval_models import MODELS_HELP, ApiKeyVariable, Concurrency, Dtype, Timeout
from luthier.files import file_name

if TYPE_CHECKING:
    from luthier.cli.eval_beside import Beside
    from luthier.cli.eval_tasks import Manner
    from luthier.evaluation.answerers.opening import OpenedAnswerer
    from luthier.evaluation.runner import EvalResult
    from luthier.evaluation.speed import Price
    from luthier.evaluation.store import EvalStore
    from luthier.evaluation.tasks.definition import Task

app = typer.Typer(
    cls=DefaultVerb,
    help="Ask models every item and grade the answers (`run`, which needs no name: `luthier eval MODEL...`).",
    no_args_is_help=True,
)

Items = Annotated[Path | None, typer.Option(help="Evaluation items (JSONL).")]
System = Annotated[str | None, typer.Option(help="A system prompt, or @FILE.")]
NewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Batch = Annotated[int, typer.Option(min=1, help="Questions asked at once.")]
Money = Annotated[
    float | None, typer.Option(min=0, help="Price of a million tokens (read: in, written: out).")
]


@app.callback()
def _eval() -> None:
    """Ask models every item and grade the answers (`run`, which needs no name: `luthier eval MODEL...`)."""


@app.command("run")
def evaluate(
    models: Annotated[list[str], typer.Argument(help=MODELS_HELP)],
    items: Items = None,
    task: Annotated[
        list[Path] | None, typer.Option(help="A task (YAML), or lm-eval:NAME; may be given several times.")
    ] = None,
    system: System = None,
    out: Annotated[Path, typer.Option(help="Where every prompt, answer and verdict is kept.")] = Path(
        "evaluations"
    ),
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens: 64, or what the task says.")
    ] = None,
    batch_size: Batch = 32,
    repeats: Annotated[
        int, typer.Option(min=1, help="Ask the same so often, and say what changed by itself.")
    ] = 1,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each item, at --temperature: pass@k.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest token each time.")] = 0.0,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume", help="Use answers that are kept. Default: yes, but not for URL#MODEL."
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Ask the base of a trained model too: by itself, with examples, with the prompt, with documents.",
        ),
    ] = True,
    speed: Annotated[bool, typer.Option("--speed", help="Show latency and tokens per second.")] = False,
    price_in: Money = None,
    price_out: Money = None,
    unsafe_execution: Annotated[
        bool, typer.Option("--unsafe-execution", help="Run answers of code tasks where no wall holds.")
    ] = False,
    dtype: Dtype = "auto",
    api_key_variable: ApiKeyVariable = None,
    timeout: Timeout = 60.0,
    concurrency: Concurrency = 4,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask models every item and grade the answers: greedy, with the training template, unless told otherwise."""
    from luthier.cli import eval_beside, eval_tasks
    from luthier.cli.eval_models import Opening, opened, system_prompt
    from luthier.evaluation.store import EvalStore

    refused = {
        "--items": items is not None,
        "--system": system is not None,
        "--max-new-tokens": max_new_tokens is not None,
        "--repeats": repeats > 1,
        "--samples": samples > 1,
        "--temperature": temperature > 0,
        "--resume": resume is not None,
        "--no-baselines": not baselines,
        "--speed": speed,
        "--price-in": price_in is not None,
        "--price-out": price_out is not None,
        "--unsafe-execution": unsafe_execution,
    }
    if harness := eval_harness.of_harness(task, refused):
        eval_harness.evaluate(models, harness, out, batch_size, dtype, json)
        return
    _check_counts(repeats, samples, temperature)
    price = _price(price_in, price_out)
    tasks = _tasks(items, task, unsafe_execution)
    given = read_text_option(system)
    store = EvalStore(out)
    opening = Opening(dtype, api_key_variable, timeout, concurrency)
    beside = eval_beside.plans(models, tasks, given, temperature) if baselines else {}
    if any(one.base for one in beside.values()):
        told = eval_beside.questions(tasks, len(models), list(beside.values()), max(repeats, samples))
        console(stderr=True).print(told, markup=False, soft_wrap=True)
    summaries, held = [], []
    for ref in models:
        asked = []
        with opened(ref, opening) as answerer:
            for one in tasks:
                prompt = system_prompt(ref, given, one.generation.system)
                manner = eval_tasks.Manner(
                    prompt, max_new_tokens, batch_size, temperature=temperature, resume=resume
                )
                asked.append((one, manner, _runs(answerer, one, manner, repeats, samples, store)))
        for one, manner, runs in asked:
            path = _save(runs, out, f"{file_name(ref)}{_prompt_mark(runs[0].system_prompt)}-{one.name}")
            entry = eval_tasks.summary(eval_tasks.outcome(one, runs), one, path, price)
            if ref in beside:
                found = eval_beside.ask(beside[ref], one, runs[0], manner, opening, store, out)
                held.append((one, found))
                entry["baselines"] = found.to_dict()
            summaries.append(entry)
    if json:
        print_json(summaries)
        return
    for one in tasks:
        entries = [entry for entry in summaries if entry["task"] == one.name]
        console().print(eval_tasks.table(entries, one, speed=speed))
        _show_beside([found for task, found in held if task is one], one)
    for entry in summaries:
        console().print(f"answers: {entry['answers']}", soft_wrap=True)


def _show_beside(held: "list[Beside]", task: "Task") -> None:
    for found in held:
        if found.verdict is None:
            eval_baselines.show_notes(found.notes)
        else:
            eval_baselines.show(task, found.results, found.verdict, found.notes)


app.command("baselines")(eval_baselines.baselines)
app.command("list")(eval_stored.list_stored)
app.command("show")(eval_stored.show)
app.command("plan")(eval_plan.plan)
app.command("perplexity")(eval_perplexity.perplexity)


def _check_counts(repeats: int, samples: int, temperature: float) -> None:
    from luthier.errors import ConfigError

    if repeats > 1 and temperature > 0:
        raise ConfigError("--repeats measures what changes at temperature 0; for samples, give --samples")
    if samples > 1 and temperature == 0:
        raise ConfigError("--samples: at temperature 0 they are all the same; give --temperature 0.8")


def _price(price_in: float | None, price_out: float | None) -> "Price | None":
    from luthier.errors import ConfigError
    from luthier.evaluation.speed import Price

    if price_in is None and price_out is None:
        return None
    if price_in is None or price_out is None:
        raise ConfigError("a cost takes both prices per million tokens: --price-in and --price-out")
    return Price(price_in, price_out)


def _tasks(items: Path | None, files: list[Path] | None, unsafe_execution: bool) -> "list[Task]":
    from luthier.cli import eval_tasks
    from luthier.errors import ConfigError

    tasks = [eval_tasks.read(path, unsafe_execution=unsafe_execution) for path in files or ()]
    if items is not None:
        tasks.insert(0, eval_tasks.of_items(items))
    if not tasks:
        raise ConfigError("expected --items FILE or --task FILE, found neither")
    return tasks


def _runs(
    answerer: "OpenedAnswerer",
    task: "Task",
    manner: "Manner",
    repeats: int,
    samples: int,
    store: "EvalStore",
) -> "list[EvalResult]":
    """One run, or samples with their seeds, or repeats: a local model's in ever smaller batches, padded otherwise."""
    from luthier.cli import eval_tasks

    runs = [eval_tasks.ask(answerer, task, replace(manner, seed=seed), store) for seed in range(samples)]
    for repeat in range(1, repeats):
        size = manner.batch_size if answerer.may_change else max(1, manner.batch_size >> repeat)
        runs.append(eval_tasks.ask(answerer, task, replace(manner, repeat=repeat, batch_size=size), store))
    return runs


def _save(runs: "list[EvalResult]", out: Path, name: str) -> Path:
    """Write each run; gives the place of the first."""
    from luthier.evaluation.runner import save_result

    for number, run in enumerate(runs, start=1):
        save_result(run, out / (f"{name}.jsonl" if number == 1 else f"{name}-{number}.jsonl"))
    return out / f"{name}.jsonl"


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
    api_key_variable: ApiKeyVariable = None,
    timeout: Timeout = 60.0,
    concurrency: Concurrency = 4,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare models on the same items: exact McNemar test, bootstrap interval, table per tag."""
    from luthier.cli import eval_tasks
    from luthier.cli.eval_models import Opening, opened, system_prompt
    from luthier.errors import EvaluationError
    from luthier.evaluation.compare import compare as compare_results
    from luthier.evaluation.compare import render_comparison
    from luthier.evaluation.runner import load_result

    opening = Opening(dtype, api_key_variable, timeout, concurrency)
    given = read_text_option(system)
    results: list[EvalResult] = []
    for ref in models:
        if ref.endswith(".jsonl"):
            results.append(load_result(Path(ref)))
        elif items is None:
            raise EvaluationError(
                f"{ref} is a model: give --items FILE to ask it, or name answers saved by luthier eval"
            )
        else:
            task = eval_tasks.of_items(items)
            manner = eval_tasks.Manner(system_prompt(ref, given), max_new_tokens, batch_size)
            with opened(ref, opening) as answerer:
                results.append(eval_tasks.ask(answerer, task, manner))
    comparison = compare_results(results)
    if json:
        print_json(comparison.to_dict())
    else:
        console().print(render_comparison(comparison))


def _prompt_mark(system: str | None) -> str:
    """Two prompts on one model are two measurements, kept in two files."""
    from luthier.hashing import hash_text

    return f"-prompt-{hash_text(system).removeprefix('sha256:')[:6]}" if system else ""
