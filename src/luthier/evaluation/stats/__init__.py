"""Statistics: what a difference of scores proves, and how many items would prove it.

intervals    Wilson and Clopper-Pearson, for one share alone
mcnemar      the exact test of right-or-wrong answers in pairs
bootstrap    intervals for means, differences and any figure of the whole set; items or whole sources are drawn
permutation  the exact (or sampled) test of paired scores; signs of items or of whole sources are flipped
correction   Holm's correction where several comparisons are made
planning     power, the gap that can be seen, the number of items needed
equivalence  "not worse" and "as good as", within a margin
pass_at_k    code that is tried n times
repeats      scores that were given k times: how much of the spread is the judge's

It knows nothing of items, models and files. docs/statistics.md explains it to a reader who is no statistician.
"""

from luthier.evaluation.stats.bootstrap import (
    NUM_RESAMPLES,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_metric,
)
from luthier.evaluation.stats.correction import holm
from luthier.evaluation.stats.equivalence import Equivalence, equivalence_of_pairs, equivalence_of_scores
from luthier.evaluation.stats.intervals import Interval, clopper_pearson_interval, wilson_interval
from luthier.evaluation.stats.mcnemar import mcnemar_exact, wins_needed
from luthier.evaluation.stats.pass_at_k import PassAtK, pass_at_k, pass_at_k_of
from luthier.evaluation.stats.permutation import PairedTest, permutation_test
from luthier.evaluation.stats.planning import items_needed, mcnemar_power, smallest_gap
from luthier.evaluation.stats.repeats import RepeatedScores, repeated_difference, repeated_mean

__all__ = [
    "NUM_RESAMPLES",
    "Equivalence",
    "Interval",
    "PairedTest",
    "PassAtK",
    "RepeatedScores",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_metric",
    "clopper_pearson_interval",
    "equivalence_of_pairs",
    "equivalence_of_scores",
    "holm",
    "items_needed",
    "mcnemar_exact",
    "mcnemar_power",
    "pass_at_k",
    "pass_at_k_of",
    "permutation_test",
    "repeated_difference",
    "repeated_mean",
    "smallest_gap",
    "wilson_interval",
    "wins_needed",
]
