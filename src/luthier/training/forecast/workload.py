"""What a run computes: its heaviest micro-batch, and how much there is of all.

From the rows that were read, laid together as the run will lay them (shared tokens once); without rows, from rows
that are as long as the recipe allows. Knows nothing of models or devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.data.batches import Batch, BatchPlan, Cut, MicroBatch, microbatches
from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests
from luthier.models.method_table import METHODS
from luthier.training.recipe import Recipe

_LOOKED_AT = 200  # steps; of longer runs these are spread over all
ASSUMED_ROWS = 1000
_ASSUMED_VOCABULARY = 256


@dataclass(frozen=True)
class Workload:
    """heaviest: the largest micro-batch seen. Tokens are as a user counts them, nodes as they are computed.

    assumed: no rows were given. num_looked_at: of how many steps these numbers come.
    """

    heaviest: Batch
    one_microbatch: bool
    num_steps: int
    tokens_per_step: float
    nodes_per_step: float
    supervised_per_step: float
    validation_nodes: int
    num_evaluations: int
    num_rows: int
    num_tokens: int
    num_looked_at: int
    assumed: bool

    @property
    def distinct_nodes(self) -> int:
        """Of all rows, those held out too: what passes layers that are computed once."""
        return round(self.num_tokens * self.nodes_per_step / self.tokens_per_step) + self.validation_nodes

    @property
    def heaviest_nodes(self) -> int:
        return num_nodes(self.heaviest)


def num_nodes(batch: Batch) -> int:
    """The tokens that are computed: pads too, shared ones once."""
    return int(batch.token_ids_BT.size) if isinstance(batch, MicroBatch) else batch.num_nodes


def cut_of(recipe: Recipe) -> Cut:
    """How rows will be laid together, if the model can: padding where the recipe or the method asks for it."""
    padded = recipe.train.packing == "padding" or METHODS[recipe.method.name].packing == "padding"
    return microbatches if padded else forests


def workload_of(
    recipe: Recipe,
    rows: TokenDataset,
    validation: TokenDataset | None,
    num_steps: int,
    *,
    assumed: bool = False,
    cut: Cut | None = None,
) -> Workload:
    """Look at up to 200 steps of the run. `cut`: how the model lays rows together, where that is known."""
    train = recipe.train
    cut = cut or cut_of(recipe)
    plan = BatchPlan(rows, train.batch_size, train.tokens_per_microbatch, train.seed, cut)
    chosen = sorted({int(step) for step in np.linspace(0, num_steps - 1, min(num_steps, _LOOKED_AT))})
    steps: list[Sequence[Batch]] = [plan.step(step) for step in chosen]
    heaviest = max((batch for batches in steps for batch in batches), key=num_nodes)
    per_epoch = recipe.evaluation.per_epoch
    epochs = num_steps / plan.steps_per_epoch
    return Workload(
        heaviest,
        all(len(batches) == 1 for batches in steps),
        num_steps,
        float(np.mean([sum(b.num_tokens for b in batches) for batches in steps])),
        float(np.mean([sum(num_nodes(b) for b in batches) for batches in steps])),
        float(np.mean([sum(b.num_supervised for b in batches) for batches in steps])),
        validation.num_tokens if validation is not None else 0,
        max(1, round(per_epoch * epochs)) if validation is not None else 0,
        rows.num_rows,
        rows.num_tokens,
        len(chosen),
        assumed,
    )


def assumed_rows(recipe: Recipe) -> TokenDataset:
    """Rows of data.max_length that share nothing, the second half of each supervised: the worst that may come."""
    length, count = recipe.data.max_length, max(recipe.train.batch_size, 1)
    offsets = np.arange(count + 1, dtype=np.int64) * length
    ids = np.random.default_rng(0).integers(0, _ASSUMED_VOCABULARY, count * length).astype(np.int32)
    weights = np.tile((np.arange(length) >= length // 2).astype(np.float32), count)
    return TokenDataset(ids, weights, offsets, ["assumed"] * count)
