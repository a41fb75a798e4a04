"""Candidate and champion in pairs before a judge, where its own test says that it may decide.

A judge that may not is not asked: its verdicts would cost and count for nothing. Knows nothing of what they lead to.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.evaluation.gate.evidence import AskedSet, Judgement
from luthier.evaluation.item import EvalItem
from luthier.evaluation.judge.asking import Judge
from luthier.evaluation.judge.report import Fitness, find_report
from luthier.evaluation.judge.results import JudgedPairs, cases_of, pair_cases
from luthier.evaluation.judge.rubric import Rubric


def judge_domain(
    judge: Judge,
    rubrics: Mapping[str, Rubric],
    sets: Sequence[AskedSet],
    items: Mapping[str, Sequence[EvalItem]],
    reports: Path,
) -> dict[str, Judgement]:
    """A judgement by criterion, each with the rubric of its own.

    items: by the path of their set. reports: the folder of `luthier judge test`. Raises ModelError where the judge
    cannot be asked, EvaluationError where it gives no verdict at all or its report is broken.
    """
    domain = [one for one in sets if one.role == "domain" and one.against is not None]
    found = {}
    for criterion, rubric in rubrics.items():
        identity = judge.identity(rubric)
        word = find_report(reports, identity).word
        pairs = [_pairs(judge, rubric, one, items[one.path]) for one in domain] if word is Fitness.FIT else []
        found[criterion] = Judgement(
            judge=judge.name,
            identity=identity,
            word=word,
            wins=sum(one.wins for one in pairs),
            losses=sum(one.losses for one in pairs),
            ties=sum(one.ties for one in pairs),
            num_left_out=sum(one.num_left_out for one in pairs),
        )
    return found


def _pairs(judge: Judge, rubric: Rubric, one: AskedSet, items: Sequence[EvalItem]) -> JudgedPairs:
    assert one.against is not None
    labels = (one.against.label, one.candidate.label)
    first, second = cases_of(one.against, items), cases_of(one.candidate, items)
    return pair_cases(first, second, rubric, judge, labels=labels)
