"""What the metrics of preferences say of a run: rules of thumb, each with its evidence and what to try next.

Levels are medians of the first and the last fifth of the run. Knows nothing of models and of the loss.
"""

from collections.abc import Mapping, Sequence
from statistics import median

Found = tuple[str, str] | None
Series = Mapping[str, Sequence[float]]
"""Metrics by name, step by step."""

_FEWEST_STEPS = 20
_CHANCE = 0.55  # of 100 pairs, half of them right by chance, up to 58 are (two standard deviations)
_DECIDED = 10.0  # -log sigmoid(10) = 0.00005: nothing more is to be learnt from such a pair
_WINDOW = 50  # steps: a level of a long run needs no more
_FALL = 0.1  # nats per token


def no_preference(metrics: Series) -> Found:
    """The chosen answers win no more often than by chance."""
    accuracy = metrics.get("reward_accuracy", ())
    if len(accuracy) < _FEWEST_STEPS or _last(accuracy) > _CHANCE:
        return None
    why = (
        f"the chosen answer has the higher reward in {_last(accuracy):.0%} of the pairs at the end "
        f"({_first(accuracy):.0%} at the start), as by chance: no preference was learnt"
    )
    return why, (
        "a higher optim.learning_rate (preferences begin very carefully: 5e-6 for adapters), more train.epochs, and a "
        "look at the pairs: are chosen and rejected told apart by anything, and always in the same way?"
    )


def runaway_margin(metrics: Series) -> Found:
    """The rewards run apart although the pairs are decided."""
    margin = metrics.get("reward_margin", ())
    if len(margin) < _FEWEST_STEPS:
        return None
    middle, last = median(_fifth(margin, 2)), _last(margin)
    if last < _DECIDED or last < 1.2 * middle:
        return None
    why = f"the reward margin grew from {_first(margin):.3g} to {last:.3g} and still grows ({middle:.3g} half-way)"
    return f"{why}: the pairs are decided, and what is learnt now is to be sure of them", (
        "fewer train.epochs or a lower optim.learning_rate; a larger objective.beta (dpo), or loss=ipo, which asks for "
        "a margin of its own and no more; for a reward model objective.center_coefficient=0.01"
    )


def displaced_likelihood(metrics: Series) -> Found:
    """The chosen answers themselves become less likely (Razin et al. 2024, arXiv:2410.08847)."""
    chosen, rejected = metrics.get("logp_chosen", ()), metrics.get("logp_rejected", ())
    if min(len(chosen), len(rejected)) < _FEWEST_STEPS:
        return None
    fall, other = _first(chosen) - _last(chosen), _first(rejected) - _last(rejected)
    if fall < _FALL or fall < 0.1 * abs(_first(chosen)):
        return None
    why = (
        f"the log-probability per token of the chosen answers fell from {_first(chosen):.3g} to {_last(chosen):.3g} "
        f"(of the rejected ones by {other:.3g}): the margin grows while the model unlearns the answers, and it says "
        "something third"
    )
    return why, (
        "a first fine-tune on the chosen answers (objective sft), then again; a larger objective.beta, a lower "
        "optim.learning_rate, or orpo, which learns the chosen answer too; leave out pairs whose answers are nearly "
        "alike"
    )


def _fifth(values: Sequence[float], number: int) -> Sequence[float]:
    size = max(1, len(values) // 5)
    return values[number * size : (number + 1) * size]


def _first(values: Sequence[float]) -> float:
    return median(values[: max(1, min(len(values) // 5, _WINDOW))])


def _last(values: Sequence[float]) -> float:
    return median(values[-max(1, min(len(values) // 5, _WINDOW)) :])
