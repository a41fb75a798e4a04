"""What a run must know before its first step, beyond its rows: references, a teacher's labels, what the weights mean.

Each is computed once from the model as it is then, or from a teacher, kept in the run folder and read again by a
resumed run. Knows nothing of steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.data.batches import Cut
from luthier.data.dataset import TokenDataset
from luthier.training.ewc import ElasticWeights, elastic_weights
from luthier.training.learner import Learner
from luthier.training.objectives import Objective
from luthier.training.recipe import Recipe
from luthier.training.reference import with_references
from luthier.training.teacher import with_teacher

Preparing = Callable[[str, int, int], None]
"""Hears what is computed, how many rows are done, and of how many."""


@dataclass(frozen=True)
class Prepared:
    """The datasets by name with all that the objective needs, the penalty, and what is to be said about them."""

    datasets: Mapping[str, TokenDataset]
    penalty: ElasticWeights | None
    notes: Sequence[str]


def prepare(
    recipe: Recipe,
    objective: Objective,
    learner: Learner,
    datasets: Mapping[str, TokenDataset],
    general_rows: TokenDataset | None,
    cut: Cut,
    compute_dtype: torch.dtype,
    folder: Path,
    progress: Preparing = lambda what, done, total: None,
) -> Prepared:
    """Compute, or read, what is needed. Before the first step, and before a checkpoint is restored."""
    budget = recipe.train.tokens_per_microbatch
    notes: list[str] = []
    penalty: ElasticWeights | None = None

    def of(what: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(what, done, total)

    if objective.needs_reference:
        said = of("reference log-probabilities")
        datasets, word = with_references(learner, datasets, cut, budget, compute_dtype, folder, said)
        notes.append(word)
    if objective.teacher is not None:
        vocab_size, said = len(learner.parts.head().weight_VC), of("the teacher's soft labels")
        datasets, word = with_teacher(
            objective.teacher, datasets, vocab_size, budget, compute_dtype, learner.device, folder, said
        )
        notes.append(word)
    if recipe.train.ewc is not None and general_rows is not None:
        weight, said = recipe.train.ewc.weight, of("Fisher information")
        penalty, word = elastic_weights(learner, general_rows, weight, compute_dtype, folder, said)
        notes.append(word)
    return Prepared(datasets, penalty, notes)
