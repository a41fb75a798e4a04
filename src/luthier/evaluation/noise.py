"""The same items asked again: how much moves by itself, before any difference between models means something.

At temperature 0 a model should say the same again. A server that batches requests, or another size of batches with its
other sums, may not. A gain below the share of verdicts that changed is no gain.
This file knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.runner import EvalResult
from luthier.evaluation.stats import Interval, clopper_pearson_interval


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Shares of items that were not the same in all runs, with exact intervals. `accuracies`: of each run.

    batch_sizes: those of the runs; two sizes show what padding does to a local model.
    """

    num_runs: int
    num_items: int
    answers_changed: float
    answers_interval: Interval
    verdicts_changed: float
    verdicts_interval: Interval
    accuracies: tuple[float, ...]
    batch_sizes: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def statement(self) -> str:
        sizes = ", ".join(str(size) for size in self.batch_sizes)
        return (
            f"asked {self.num_runs} times (batches of {sizes}): {self.answers_changed:.1%} of {self.num_items} answers "
            f"and {self.verdicts_changed:.1%} of verdicts changed by themselves (at most "
            f"{self.verdicts_interval.high:.1%} of verdicts, at {self.verdicts_interval.confidence:.0%})"
        )


def noise_floor(runs: Sequence[EvalResult]) -> NoiseFloor:
    """Results of one model on the same items. Raises EvaluationError with fewer than two, or on other items."""
    if len(runs) < 2:
        raise EvaluationError(f"the noise floor takes two runs or more of the same items, found {len(runs)}")
    if len({run.items_hash for run in runs}) > 1:
        raise EvaluationError("the noise floor takes runs of the same items; these are of different ones")
    said: dict[str, set[str]] = {}
    judged: dict[str, set[str]] = {}
    for run in runs:
        for item in run.items:
            said.setdefault(item.id, set()).add(item.answer)
            judged.setdefault(item.id, set()).add(item.verdict)
    count = len(said)
    answers = sum(len(texts) > 1 for texts in said.values())
    verdicts = sum(len(words) > 1 for words in judged.values())
    return NoiseFloor(
        num_runs=len(runs),
        num_items=count,
        answers_changed=answers / count,
        answers_interval=clopper_pearson_interval(answers, count),
        verdicts_changed=verdicts / count,
        verdicts_interval=clopper_pearson_interval(verdicts, count),
        accuracies=tuple(run.accuracy for run in runs),
        batch_sizes=tuple(run.settings.batch_size for run in runs),
    )
