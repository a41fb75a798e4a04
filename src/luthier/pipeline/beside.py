"""A further specialist over the base of another: check, train an adapter, evaluate, keep it in the same store.

It meets no champion and gets no verdict here, so it is kept and not promoted: `luthier gate` does that.
This file knows nothing of screens: it tells a `Say` what each step found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.checks import check_files
from luthier.errors import DataError
from luthier.evaluation.answerers.local import ModelAnswerer
from luthier.evaluation.graders.json_text import read_json
from luthier.evaluation.runner import EvalResult, evaluate, save_result
from luthier.evaluation.task import load_items
from luthier.hashing import hash_file
from luthier.models.load import load_model
from luthier.pipeline.bundle import bundle_run
from luthier.pipeline.identity import model_hash
from luthier.pipeline.run_step import tell_run, train_run
from luthier.pipeline.steps import Say, Steps
from luthier.registry.runs import open_run
from luthier.registry.specialists import SpecialistStore
from luthier.training.tracking import Tracker


@dataclass(frozen=True)
class BesideJob:
    """What to make. `folder` holds its run; its answers are JSON, which is counted beside what is right."""

    name: str
    base: str
    train: Path
    valid: Path
    test: Path
    folder: Path
    recipe: Mapping[str, Any]
    max_new_tokens: int = 32


@dataclass(frozen=True)
class Beside:
    """What came out. accuracy: of the test items; num_json: how many answers are JSON, right or not."""

    specialist: str
    accuracy: float
    num_json: int
    num_items: int
    run: Mapping[str, Any]


def make_beside(job: BesideJob, store: SpecialistStore, say: Say, tracker: Tracker) -> Beside:
    """Run the job. Raises DataError where the data check finds errors."""
    steps = Steps(job.folder, say)
    data = {path.stem: hash_file(path) for path in (job.train, job.valid, job.test)}
    _check(job)
    trained = steps.do(
        f"train {job.name}",
        [model_hash(job.base), data, job.recipe],
        lambda: train_run(job.folder / "run", _values(job), tracker),
        tell_run,
    )
    model = job.folder / "run" / "model"
    measured = steps.do(
        f"evaluate {job.name}",
        [model_hash(str(model)), data["test"], job.max_new_tokens],
        lambda: _measure(job, model),
        lambda found: (
            f"{found['accuracy']:.1%} of {found['items']} test items right, {found['json']} of them JSON"
        ),
    )
    message = f"{measured['accuracy']:.1%} of {measured['items']} test items"
    kept, _ = bundle_run(store, open_run(job.folder / "run"), job.name, message=message)
    return Beside(kept.ref, measured["accuracy"], measured["json"], measured["items"], trained)


def _check(job: BesideJob) -> None:
    if check_files([job.train], job.valid, job.test).exit_code(strict=False):
        raise DataError(
            "the data check found errors; see them all: "
            f"luthier data check {job.train} --valid {job.valid} --test {job.test}"
        )


def _values(job: BesideJob) -> dict[str, Any]:
    files = {"train": [str(job.train)], "validation": str(job.valid)}
    return {**job.recipe, "model": {"name": job.base}, "data": {**job.recipe.get("data", {}), **files}}


def _measure(job: BesideJob, model: Path) -> dict[str, Any]:
    answerer = ModelAnswerer(load_model(str(model)), job.name)
    result = evaluate(answerer, load_items(job.test), max_new_tokens=job.max_new_tokens)
    file = job.folder / "answers" / f"{job.name}-{job.test.stem}.jsonl"
    save_result(result, file)
    return {
        "accuracy": result.accuracy,
        "items": len(result.items),
        "json": num_json(result),
        "files": [str(file)],
    }


def num_json(result: EvalResult) -> int:
    """How many of the answers are JSON."""
    return sum(_is_json(one.answer) for one in result.items)


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True
