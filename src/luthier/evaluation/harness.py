"""Tasks of EleutherAI's lm-evaluation-harness, asked by the harness itself of a model that is loaded here.

`NAME` is a task that the harness knows; `FILE.yaml` is one of its task files, whose data may lie on the disk
(`dataset_path: json` with `data_files`), so that nothing is fetched. Prompts, tokens and metrics are the harness's own:
its numbers compare with those that others publish, not with tasks of Luthier.
Needs the extra `lm-eval`. Source: Gao et al., A framework for few-shot language model evaluation (2021).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import EvalResult, EvalSettings, ItemResult
from luthier.hashing import hash_json
from luthier.models.load import LoadedModel

PREFIX = "lm-eval:"


@dataclass(frozen=True)
class HarnessResult:
    """What the harness says. `figures`: by its names, each with its standard error, where it has one.

    `result`: each item, right or wrong by the first metric, for comparisons of two models.
    """

    task: str
    figures: Mapping[str, tuple[float, float | None]]
    result: EvalResult


def run_harness(loaded: LoadedModel, name: str, task: str, *, batch_size: int = 8) -> HarnessResult:
    """Ask one task. `task`: without the prefix; `name`: what tables call the model.

    Raises EvaluationError where the harness is not installed, does not know the task, or cannot get its data.
    """
    lm_eval = _package()
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    started = time.perf_counter()
    known, manager = _find(task, TaskManager)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size)
    try:
        found = lm_eval.simple_evaluate(model, tasks=[known], task_manager=manager, log_samples=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EvaluationError(
            f"{PREFIX}{task}: the harness failed: {type(error).__name__}: {error}. Where it cannot fetch the task's "
            "data, keep them on the disk and name a task file (dataset_path: json, dataset_kwargs: data_files)"
        ) from error
    seconds = time.perf_counter() - started
    samples = [row for rows in found["samples"].values() for row in rows]
    if not samples:
        raise EvaluationError(f"{PREFIX}{task}: the harness asked nothing; does the task have items?")
    figures = _figures(found["results"].get(known) or next(iter(found["results"].values())))
    return HarnessResult(known, figures, _result(name, samples, batch_size, seconds))


def _package() -> Any:
    try:
        import lm_eval
    except ImportError as error:
        raise EvaluationError(
            "tasks of the lm-evaluation-harness need the extra: pip install 'luthier[lm-eval]'"
        ) from error
    return lm_eval


def _find(task: str, manager: Any) -> tuple[str, Any]:
    """The task's name and the harness's index of where it stands."""
    path = Path(task)
    if path.suffix not in (".yaml", ".yml"):
        index = manager()
        if task not in index.all_tasks:
            raise EvaluationError(
                f"{PREFIX}{task}: the harness has no such task; `lm-eval ls tasks` lists them"
            )
        return task, index
    if not path.is_file():
        raise EvaluationError(f"{PREFIX}{task}: there is no such task file")
    named = re.search(r"^task:\s*([\w.-]+)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if named is None:
        raise EvaluationError(f"{path}: expected a task file of the harness with a line 'task: NAME'")
    return named[1], manager(include_path=str(path.parent.absolute()), include_defaults=False)


def _figures(values: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """`acc,none` and `acc_stderr,none` as acc: (value, error); other filters keep their name."""
    figures: dict[str, tuple[float, float | None]] = {}
    for key, value in values.items():
        metric, _, chosen = key.partition(",")
        if not chosen or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = values.get(f"{metric}_stderr,{chosen}")
        shown = metric if chosen == "none" else f"{metric} ({chosen})"
        figures[shown] = (float(value), float(error) if isinstance(error, int | float) else None)
    return figures


def _result(name: str, samples: Sequence[Mapping[str, Any]], batch_size: int, seconds: float) -> EvalResult:
    kept = {(row.get("filter", "none"), row["doc_id"]): row for row in samples}
    first = next(iter(kept))[0]
    rows = [row for (chosen, _), row in kept.items() if chosen == first]
    return EvalResult(
        model_name=name,
        prompt_variant="plain",
        system_prompt=None,
        few_shot=(),
        items_hash=hash_json([[row["doc_id"], row["doc_hash"], row["prompt_hash"]] for row in rows]),
        settings=EvalSettings(1, batch_size, decoding="lm-eval"),
        items=tuple(_item(row, seconds / len(rows)) for row in rows),
        seconds=seconds,
    )


def _item(row: Mapping[str, Any], seconds: float) -> ItemResult:
    metric = next(iter(row["metrics"]), None)
    score = row.get(metric) if metric is not None else None
    graded = isinstance(score, int | float) and 0 <= score <= 1
    verdict = VerdictWord.PASSED if score == 1 else VerdictWord.FAILED
    return ItemResult(
        id=str(row["doc_id"]),
        tags=(),
        prompt=str(_first_argument(row["arguments"])),
        answer=str(row["filtered_resps"]),
        num_tokens=None,
        num_prompt_tokens=None,
        termination=Termination.CLEAN,
        grader=f"{PREFIX}{metric}",
        verdict=verdict if graded else VerdictWord.UNGRADABLE,
        score=float(score) if isinstance(score, int | float) and graded else 0.0,
        reason=f"{metric} {score}; target {row['target']}",
        seconds=seconds,
    )


def _first_argument(arguments: Any) -> Any:
    """The prompt of the item's first request, in both forms that the harness keeps."""
    first = next(iter(arguments.values())) if isinstance(arguments, Mapping) else arguments[0]
    return next(iter(first.values())) if isinstance(first, Mapping) else first[0]
