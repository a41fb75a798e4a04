"""One training as a step of a job: a run folder from recipe values, continued where the same one was stopped.

Knows nothing of what the job is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from luthier.config import Layer
from luthier.pipeline.evaluators import task_evaluators
from luthier.registry.runs import RunStatus, create_run, is_run, open_run
from luthier.training.job import run_job
from luthier.training.manifest import same_data
from luthier.training.plan import plan_job
from luthier.training.tracking import MetricsFile, Tracker, Trackers


def train_run(folder: Path, values: Mapping[str, Any], tracker: Tracker) -> dict[str, Any]:
    """Train what a recipe's values say; the facts of the run as JSON values.

    Raises KeyboardInterrupt where the user stopped it; a checkpoint was written then.
    """
    plan = plan_job([Layer("the job", dict(values))], where="the job's recipe")
    recipe_yaml = yaml.safe_dump(dict(values), sort_keys=False)
    resume = False
    if is_run(folder):
        # Only the same recipe and data may continue; anything else begins anew.
        run = open_run(folder)
        same = run.recipe_path.read_text(encoding="utf-8") == recipe_yaml
        same = same and same_data(json.loads(run.data_path.read_text(encoding="utf-8")), plan.data_manifest)
        resume = same and run.status() is not RunStatus.FINISHED
    if not resume:
        run = create_run(
            folder,
            recipe_yaml=recipe_yaml,
            data_manifest=plan.data_manifest,
            resolved={"values": plan.recipe.model_dump(mode="json"), "sources": dict(plan.resolved.sources)},
            overwrite=True,
        )
    result = run_job(
        plan,
        run,
        tracker=Trackers([MetricsFile(run), tracker]),
        evaluators=task_evaluators(plan),
        resume=resume,
    )
    if result.loop.outcome == "interrupted":
        raise KeyboardInterrupt
    progress = result.loop.progress
    last = [event for event in run.read_metrics() if event["event"] == "step"][-1]
    return {
        "method": plan.recipe.method.name,
        "trainable": result.trainable_parameters,
        "parameters": result.all_parameters,
        "rows": plan.train_rows.num_rows,
        "steps": result.loop.num_steps,
        "train_loss": last["loss"],
        "validation_loss": progress.best_validation_loss,
        "peak_memory_bytes": last["peak_memory_bytes"],
        "tokens_per_second": progress.tokens / progress.seconds,
        "seconds": progress.seconds,
        "dtype": plan.dtype_name,
        "files": [str(result.model_folder), str(result.report)],
    }


def tell_run(found: Mapping[str, Any]) -> str:
    """The line that a job says of it."""
    return (
        f"{found['rows']} rows, {found['steps']} steps in {found['seconds']:.0f} s; "
        f"validation loss {found['validation_loss']:.3f}"
    )
