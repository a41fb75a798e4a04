"""The heaviest micro-batch of a run, once before the first step: a lack of memory shows at once, not at step 120.

Its gradient is thrown away and the random state put back, so that the run is the same to the last bit. Knows nothing
of recipes, files and optimizers.
"""

import torch

from luthier.data.batches import Batch, BatchPlan, MicroBatch
from luthier.errors import TrainingError
from luthier.training.learner import Learner
from luthier.training.loop import LoopConfig, forward_backward
from luthier.training.objectives import Objective

MIN_STEPS = 20  # a shorter run meets its heaviest step soon enough


def heaviest(batches: BatchPlan) -> Batch:
    """The largest micro-batch of two steps of the first epoch: that of the most tokens, that of the longest row."""
    lengths = batches.dataset.lengths()
    steps = range(batches.steps_per_epoch)
    rows = [batches.rows_of_step(step) for step in steps]
    most = max(steps, key=lambda step: int(lengths[rows[step]].sum()))
    longest = max(steps, key=lambda step: int(lengths[rows[step]].max()))
    return max((batch for step in {most, longest} for batch in batches.step(step)), key=_size)


def _size(batch: Batch) -> int:
    return batch.token_ids_BT.size if isinstance(batch, MicroBatch) else batch.num_nodes


def rehearse(
    learner: Learner, objective: Objective, batches: BatchPlan, num_steps: int, config: LoopConfig
) -> None:
    """Forwards and backwards through the heaviest micro-batch, and nothing of it stays.

    Nothing is done for runs of less than MIN_STEPS steps. Raises TrainingError where memory is short.
    """
    if num_steps < MIN_STEPS:
        return
    batch = heaviest(batches)
    parameters = [p for p in learner.model.parameters() if p.requires_grad]
    learner.model.train()
    with torch.random.fork_rng([learner.device] if learner.device.type == "cuda" else []):
        try:
            forward_backward(learner, objective, [batch], parameters, config)
        except (
            RuntimeError
        ) as error:  # torch.OutOfMemoryError is one; the CPU's allocator has none of its own
            if not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)):
                raise
            raise TrainingError(
                f"not enough memory for the heaviest micro-batch of this run ({_size(batch)} tokens): lower "
                "train.tokens_per_microbatch or data.max_length, or set train.gradient_checkpointing=true"
            ) from error
        finally:
            for parameter in parameters:
                parameter.grad = None
