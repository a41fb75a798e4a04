"""What a run must know before its first step, beyond its rows: references, a teacher's labels, what the weights mean.

Each is computed once from the model as it is then, or from a teacher, kept in the run folder and read again by a
resumed run. Knows nothing of steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from luthier.data.batches import Cut
from luthier.data.dataset import TokenDataset
from luthier.training.ewc import ElasticWeights, elastic_weights
from luthier.training.learner import Learner
from luthier.training.objectives import Objective
from luthier.training.open_trunk import no_bar
from luthier.training.recipe import Recipe
from luthier.training.reference import with_references
from luthier.training.teacher import with_teacher
from luthier.training.trunk import Bar


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
    bar: Bar = no_bar,
) -> Prepared:
    """Compute, or read, what is needed. Before the first step, and before a checkpoint is restored."""
    budget = recipe.train.tokens_per_microbatch
    notes: list[str] = []
    penalty: ElasticWeights | None = None
    if objective.needs_reference:
        with _shown(bar, "reference log-probabilities") as told:
            datasets, word = with_references(learner, datasets, cut, budget, compute_dtype, folder, told)
        notes.append(word)
    if objective.teacher is not None:
        vocab_size = len(learner.parts.head().weight_VC)
        with _shown(bar, "the teacher's soft labels") as told:
            datasets, word = with_teacher(
                objective.teacher, datasets, vocab_size, budget, compute_dtype, learner.device, folder, told
            )
        notes.append(word)
    if recipe.train.ewc is not None and general_rows is not None:
        whole = replace(learner, trunk=None)  # a trunk knows the rows of the run alone
        with _shown(bar, "Fisher information") as told:
            penalty, word = elastic_weights(
                whole, general_rows, recipe.train.ewc.weight, compute_dtype, folder, told
            )
        notes.append(word)
    return Prepared(datasets, penalty, notes)


@contextmanager
def _shown(bar: Bar, what: str) -> Iterator[Callable[[int, int], None]]:
    """A function that hears how many rows are done, and of how many; a bar for each data set in turn."""
    with ExitStack() as stack:
        advance: Callable[[float], None] | None = None
        before = 0

        def tell(done: int, total: int) -> None:
            nonlocal advance, before
            if advance is None or done <= before:
                stack.close()
                advance, before = stack.enter_context(bar(what, total, unit="rows")), 0
            advance(done - before)
            before = done

        yield tell
