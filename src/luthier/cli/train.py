"""`luthier train`: a recipe, or only a data file and a model, to a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, model_ref, quiet_libraries

if TYPE_CHECKING:
    from luthier.config import Layer
    from luthier.data.dataset import TokenDataset
    from luthier.registry.runs import Run
    from luthier.training.job import JobResult
    from luthier.training.plan import Plan


_UNIT_WORDS = {
    "kto": "labelled answers",
    "dpo": "pairs",
    "orpo": "pairs",
    "simpo": "pairs",
    "reward": "pairs",
}


RecipeAndOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe file, then values to override, like optim.learning_rate=1e-4.",
    ),
]


def train(
    recipe_and_overrides: RecipeAndOverrides = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Training rows: a file, or dataset:NAME; may be repeated.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation rows: a file, or dataset:NAME.")] = None,
    items: Annotated[str | None, typer.Option(help="Evaluation items, asked at each evaluation.")] = None,
    model: Annotated[str | None, typer.Option(help="Embedded name, folder or hub id.")] = None,
    method: Annotated[str | None, typer.Option(help="lora, full, ...: see `luthier methods`.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="sft, cpt, distill, dpo, orpo, simpo, kto or reward.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder that holds runs.")] = Path("runs"),
    resume: Annotated[Path | None, typer.Option(help="Continue this run from its last checkpoint.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Print every value and what would be trained, then stop.")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(help="Train a tenth of the run, at most 100 steps; say if the whole is worth it."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --smoke: print the verdict as JSON.")] = False,
) -> None:
    """Train a model. Every value is printed once, with where it came from."""
    from luthier.errors import ConfigError
    from luthier.training.manifest import pin_versions

    quiet_libraries()
    options: dict[str, Any] = {"data": {}, "evaluation": {}, **named_options(model, method)}
    if data:
        options["data"]["train"] = data
    if valid:
        options["data"]["validation"] = valid
    if items:
        options["evaluation"]["items"] = items
    if objective:
        options["objective"] = {"name": objective}
    if resume is not None:
        asked = (
            recipe_and_overrides,
            data,
            valid,
            items,
            model,
            method,
            objective,
            name,
            overwrite,
            dry_run,
            smoke,
        )
        if any(asked):
            raise ConfigError("--resume continues a run with its own recipe; it takes no other option")
        _resume(resume)
        return
    if json and not smoke:
        raise ConfigError("--json prints the verdict of --smoke; give both")
    layers, stem = recipe_layers(recipe_and_overrides or [], options)
    layers = pin_versions(layers)
    plan = _plan(layers, stem, quiet=json)
    if dry_run:
        return
    if smoke:
        from luthier.cli.smoke import smoke_run

        def create_small(small: "Plan", small_layers: "list[Layer]") -> "Run":
            return create(small, small_layers, runs, name or "", f"{stem}-smoke", overwrite)

        smoke_run(plan, create_small, json, layers)
        return
    run = create(plan, layers, runs, name or "", stem, overwrite)
    _train(plan, run, resume=False)


def named_options(model: str | None, method: str | None) -> dict[str, Any]:
    """--model and --method as parts of a recipe; those that were not given are not there."""
    options: dict[str, Any] = {}
    if model:
        options["model"] = {"name": model_ref(model)}
    if method:
        options["method"] = {"name": method}
    return options


def recipe_layers(arguments: list[str], options: dict[str, Any]) -> "tuple[list[Layer], str]":
    """What the command line asks for, as layers, and a stem to name a run by."""
    from luthier.config import Layer, merge_layers, parse_overrides, read_layers
    from luthier.data.places import is_dataset_place
    from luthier.errors import ConfigError
    from luthier.models.embedded import DEFAULT_MODEL
    from luthier.registry.dataset_refs import parse_ref
    from luthier.training.recipe import user_layers

    recipes = [argument for argument in arguments if "=" not in argument]
    if len(recipes) > 1:
        raise ConfigError(f"expected one recipe, got {', '.join(recipes)}; overrides look like key=value")
    layers = read_layers(Path(recipes[0])) if recipes else []
    layers.append(Layer("option", {key: value for key, value in options.items() if value}))
    layers.append(Layer("command line", parse_overrides(a for a in arguments if "=" in a)))
    files = (merge_layers(user_layers(layers))[0].get("data") or {}).get("train")
    if not files:
        raise ConfigError("nothing to train on: name a recipe with data.train, or give --data FILE")
    if not any("model" in layer.values for layer in layers):
        layers.insert(0, Layer("default", {"model": {"name": DEFAULT_MODEL}}))
    first = parse_ref(files[0]).name if is_dataset_place(files[0]) else files[0]
    stem = Path(recipes[0] if recipes else first).name.split(".")[0]
    return layers, stem


def _plan(layers: "list[Layer]", where: str, *, quiet: bool = False) -> "Plan":
    from rich.table import Table

    from luthier.training.manifest import dataset_words
    from luthier.training.plan import describe, plan_job

    screen = console(stderr=quiet)
    with screen.status("reading and rendering the data"):
        plan = plan_job(layers, where=where)
    table = Table(title="every value and where it came from", box=None, title_justify="left", pad_edge=False)
    for column in ("value", "", "from"):
        table.add_column(column, overflow="fold")
    for key, value, source in describe(plan):
        table.add_row(key, value, f"[dim]{source}[/dim]")
    screen.print(table)
    screen.print(f"data: {dataset_words(plan.data_manifest)}")
    rows = plan.train_rows
    units = "" if rows.units is None else f" in {rows.num_units} {_UNIT_WORDS[plan.recipe.objective.name]}"
    screen.print(
        f"{rows.num_rows} rows{units}, {rows.num_tokens} tokens, {rows.num_supervised} supervised; "
        f"{plan.num_steps} steps; computing in {plan.dtype_name}: {plan.dtype_reason}"
    )
    if plan.token_store is not None:
        screen.print(plan.token_store)
    if rows.num_documents:
        screen.print(f"{rows.num_documents} of these rows are pieces of documents, learnt whole")
    for split, dataset in (("training", plan.train_rows), ("validation", plan.validation_rows)):
        if dataset is not None and (said := _too_long(dataset)):
            screen.print(f"[yellow]too long, {split}: {said}[/yellow]")
    return plan


def _too_long(rows: "TokenDataset") -> str:
    """What became of the rows over data.max_length, in words; empty where there were none."""
    from luthier.data.checks.finding import rows_word

    parts = []
    if rows.num_dropped:
        parts.append(f"{rows_word(rows.num_dropped)} dropped")
    if rows.num_truncated:
        cut = f"{rows.num_answers_cut:,} lost a part of the answer"
        parts.append(f"{rows_word(rows.num_truncated)} truncated ({cut})")
    if rows.num_slid:
        parts.append(f"{rows_word(rows.num_slid)} cut into {rows.num_windows:,} windows")
    return ", ".join(parts)


def create(plan: "Plan", layers: "list[Layer]", runs: Path, name: str, stem: str, overwrite: bool) -> "Run":
    import yaml

    from luthier.config import merge_layers
    from luthier.registry.runs import create_run, default_run_name
    from luthier.training.recipe import user_layers

    asked, _ = merge_layers(user_layers(layers))
    return create_run(
        runs / (name or default_run_name(stem, runs)),
        recipe_yaml=yaml.safe_dump(asked, sort_keys=False, allow_unicode=True),
        data_manifest=plan.data_manifest,
        resolved={"values": plan.recipe.model_dump(mode="json"), "sources": dict(plan.resolved.sources)},
        overwrite=overwrite,
    )


def _resume(folder: Path) -> None:
    import json

    from luthier.config import Layer, read_yaml
    from luthier.errors import RunError
    from luthier.registry.runs import RunStatus, open_run

    run = open_run(folder)
    if run.status() is RunStatus.FINISHED:
        raise RunError(
            f"{folder}: this run has finished, there is nothing to resume; its model: {run.model_folder}"
        )
    plan = _plan([Layer(str(run.recipe_path), read_yaml(run.recipe_path))], str(run.recipe_path))
    before = {
        entry["path"]: entry["sha256"] for entry in json.loads(run.data_path.read_text(encoding="utf-8"))
    }
    changed = [entry["path"] for entry in plan.data_manifest if before.get(entry["path"]) != entry["sha256"]]
    if changed:
        raise RunError(
            f"{folder}: the data changed since this run began ({', '.join(changed)}); a resumed run would not be "
            "the same run. Restore the file, or start a new run"
        )
    _train(plan, run, resume=True)


def _train(plan: "Plan", run: "Run", *, resume: bool) -> "JobResult":
    from luthier.cli.data.progress import progress
    from luthier.cli.diagnose import print_diagnosis
    from luthier.cli.foresight import extra_trackers, foresee, remember_forecast
    from luthier.errors import Interrupted
    from luthier.pipeline.evaluators import task_evaluators
    from luthier.training.diagnose import diagnose_run
    from luthier.training.job import run_job
    from luthier.training.progress import Progress
    from luthier.training.tracking import MetricsFile, Trackers

    screen = console(stderr=True)
    made = foresee(plan, run, screen)
    tracker = Trackers([MetricsFile(run), *extra_trackers(plan, run, screen), Progress(screen)])
    try:
        result = run_job(
            plan, run, tracker=tracker, evaluators=task_evaluators(plan), bar=progress, resume=resume
        )
    except BaseException:
        if run.checkpoints_folder.is_dir() and any(run.checkpoints_folder.iterdir()):
            screen.print(f"to continue: luthier train --resume {run.folder}")
        raise
    if result.loop.outcome == "interrupted":
        raise Interrupted(
            f"interrupted after step {result.loop.num_steps} of {plan.num_steps}; a checkpoint was written. "
            f"To continue: luthier train --resume {run.folder}"
        )
    remember_forecast(run, made)
    print_diagnosis(screen, diagnose_run(run))
    share = result.trainable_parameters / result.all_parameters
    screen.print(
        f"trained {result.trainable_parameters:,} of {result.all_parameters:,} parameters ({share:.1%})\n"
        f"model:  {result.model_folder}\nreport: {result.report}\n"
        + (
            f"next:   luthier score {run.folder} preferences.jsonl"
            if plan.recipe.objective.name == "reward"
            else f"next:   luthier chat {run.folder}"
        )
    )
    return result
