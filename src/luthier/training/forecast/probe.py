"""The real thing, small: the heaviest micro-batch, two steps, in a process of its own that tells its peak and its
speed.

A process of its own, because memory that was held once is not given back, and because a lack of it must not end the
caller. Run as a module it reads a recipe as JSON from its standard input. Knows nothing of screens.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.config import Layer
from luthier.errors import TrainingError
from luthier.training.recipe import Recipe

if TYPE_CHECKING:
    from luthier.data.batches import Batch
    from luthier.training.learner import Learner
    from luthier.training.plan import Plan

PROBED_PARAMETERS = 300_000_000  # above it a probe takes minutes on a laptop, so it has to be asked for
_STEPS = 2
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Measured:
    """The most memory held (of the process on a CPU, of the device on CUDA) and the speed of the second step.

    trunk_nodes_per_second: through the layers that are computed once; 0 where there are none.
    """

    peak_memory_bytes: int
    tokens_per_second: float
    nodes_per_second: float
    seconds: float
    trunk_nodes_per_second: float

    def to_dict(self) -> dict[str, float]:
        return dict(vars(self))


def probe(layers: Sequence[Layer], *, assumed: Recipe | None = None) -> Measured:
    """Measure two steps of the recipe of `layers`, with its rows, or with those that `assumed` would have.

    Raises TrainingError with the child's words.
    """
    asked = json.dumps(
        {
            "layers": [{"source": layer.source, "values": layer.values} for layer in layers],
            "assumed": assumed.model_dump(mode="json", exclude_none=True) if assumed else None,
        }
    )
    command = [sys.executable, "-m", "luthier.training.forecast.probe"]
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(f"two steps took more than {_TIMEOUT_SECONDS} s; stopped") from error
    if done.returncode:
        killed = " (killed: usually for memory)" if done.returncode < 0 else ""
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it said nothing"
        raise TrainingError(f"the probe ended with {done.returncode}{killed}: {said}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def _measure(layers: Sequence[Layer], assumed: Recipe | None) -> Measured:
    from luthier.training.forecast.workload import assumed_rows, num_nodes, workload_of
    from luthier.training.learner import choose_cut
    from luthier.training.open_trunk import TrunkRequest, open_trunk
    from luthier.training.plan import plan_job
    from luthier.training.starting import learner_of, model_to_train
    from luthier.training.tracking import peak_memory_bytes
    from luthier.training.trunk import rows_to_read

    plan = plan_job(layers, assumed=assumed_rows(assumed) if assumed else None)
    learner = learner_of(plan, model_to_train(plan))
    cut, _ = choose_cut(learner, plan.recipe.train.packing)
    workload = workload_of(plan.recipe, plan.train_rows, None, plan.num_steps, cut=cut)
    batches = [workload.heaviest] * (1 if workload.one_microbatch else 2)
    with tempfile.TemporaryDirectory() as folder:
        config = plan.recipe.train.model_copy(update={"trunk_cache": folder})
        rows = rows_to_read(plan.train_rows, sorted(map(int, workload.heaviest.row_indices_B)), None)
        started = time.perf_counter()
        with open_trunk(learner, TrunkRequest(config, rows, cut, plan.compute_dtype, "")) as (learner, _):
            trunk_seconds = time.perf_counter() - started
            seconds = _second_step(plan, learner, batches)
    nodes, tokens = sum(map(num_nodes, batches)), sum(batch.num_tokens for batch in batches)
    of_trunk = workload.heaviest_nodes / trunk_seconds if learner.trunk else 0.0
    return Measured(peak_memory_bytes(), tokens / seconds, nodes / seconds, seconds, of_trunk)


def _second_step(plan: "Plan", learner: "Learner", batches: "Sequence[Batch]") -> float:
    """Seconds of the second of two steps."""
    import torch

    from luthier.training.loop import LoopConfig, forward_backward
    from luthier.training.objectives import OBJECTIVES
    from luthier.training.optim import build_optimizers

    model, optim, seconds = learner.model, plan.recipe.optim, 0.0
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizers = build_optimizers(model.named_parameters(), optim)
    config = LoopConfig(_STEPS, _STEPS, _STEPS, optim.clip_norm, compute_dtype=plan.compute_dtype)
    for _ in range(_STEPS):
        started = time.perf_counter()
        forward_backward(learner, OBJECTIVES["sft"], batches, trained, config)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if plan.device.type == "cuda":
            torch.cuda.synchronize(plan.device)
        seconds = time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    import logging

    logging.disable(logging.WARNING)
    given = json.load(sys.stdin)
    rows_like = Recipe.model_validate(given["assumed"]) if given["assumed"] else None
    asked_layers = [Layer(one["source"], one["values"]) for one in given["layers"]]
    print(json.dumps(_measure(asked_layers, rows_like).to_dict()))
