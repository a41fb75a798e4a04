"""Saved evaluation results through a judge: verdicts that `compare` takes, and pairs with an exact test.

This file knows nothing of how a judge is asked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.compare import ALPHA, Evidence
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.item import EvalItem
from luthier.evaluation.judge.asking import Judge, Outcome
from luthier.evaluation.judge.pairing import PairCase, Paired, pair
from luthier.evaluation.judge.replies import Preference
from luthier.evaluation.judge.rubric import Rubric
from luthier.evaluation.judge.scoring import Case, Scored, score
from luthier.evaluation.runner import EvalResult, ItemResult
from luthier.evaluation.stats import Interval, bootstrap_difference, mcnemar_exact, repeated_mean

_POINTS = {Preference.FIRST: 0.0, Preference.TIE: 0.5, Preference.SECOND: 1.0}


@dataclass(frozen=True, slots=True)
class JudgedResult:
    """A result with the judge's verdicts in the place of the grader's, and what the judge said of each item.

    identity: of the judge, for `report.find_report`. An item without a verdict is ungradable there, never a score.
    """

    result: EvalResult
    scored: tuple[Scored, ...]
    identity: str
    judge: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The judge's side of it as JSON values."""
        return {"identity": self.identity, "judge": dict(self.judge), **scored_dict(self.scored)}


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """The second result against the first, by pairs.

    wins, losses: items on which the second, the first is better; `num_left_out` had no verdict. `difference` is the
    second's mean points (1, 1/2 for a tie, 0) minus the first's, `interval` its paired bootstrap interval.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    num_left_out: int
    num_follow_order: int
    difference: float
    interval: Interval
    p_value: float
    verdict: Evidence
    paired: tuple[Paired, ...]
    identity: str
    judge: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "judge": dict(self.judge)}


def cases_of(result: EvalResult, items: Sequence[EvalItem] = ()) -> list[Case]:
    """What a judge is shown of a result. With `items`, their own words and gold answers; else the rendered prompts.

    Raises EvaluationError where an item of the result is not among `items`.
    """
    by_id = {item.id: item for item in items}
    return [_case(item, by_id) if by_id else Case(item.id, item.prompt, item.answer) for item in result.items]


def _case(answered: ItemResult, by_id: Mapping[str, EvalItem]) -> Case:
    item = by_id.get(answered.id)
    if item is None:
        raise EvaluationError(
            f"item {answered.id!r} of the answers is not among the items; give the file that was asked"
        )
    turns = [message.content for message in item.messages]
    if len(turns) > 1:
        turns = [f"{message.role}: {message.content}" for message in item.messages]
    return Case(item.id, "\n".join(turns), answered.answer, item.answer)


def judge_result(
    result: EvalResult, rubric: Rubric, judge: Judge, items: Sequence[EvalItem] = ()
) -> JudgedResult:
    """Every answer of a result scored by rubric. Raises ModelError where the judge cannot be asked."""
    scored = score(judge, cases_of(result, items), rubric)
    identity = judge.identity(rubric)
    grader = f"judge {rubric.name} {identity.removeprefix('sha256:')[:8]}"
    judged = tuple(_regraded(item, one, grader) for item, one in zip(result.items, scored, strict=True))
    return JudgedResult(replace(result, items=judged), tuple(scored), identity, judge.description(rubric))


def _regraded(item: ItemResult, one: Scored, grader: str) -> ItemResult:
    words = {
        Outcome.JUDGED: VerdictWord.PASSED if one.passed else VerdictWord.FAILED,
        Outcome.DEGENERATE: VerdictWord.FAILED,
    }
    return replace(
        item,
        grader=grader,
        verdict=words.get(one.outcome, VerdictWord.UNGRADABLE),
        score=one.score,
        reason=scored_line(one),
    )


def scored_line(one: Scored) -> str:
    """What the judge said of an answer, in a line."""
    if one.outcome is not Outcome.JUDGED:
        return f"{one.outcome}: {one.reason}"
    numbers = ", ".join(f"{name} {value:g}" for name, value in one.by_criterion.items())
    made_up = "; makes something up" if one.hallucination else ""
    return f"{one.mean:.2f} ({numbers}){made_up}: {one.reason}"


def scored_dict(scored: Sequence[Scored]) -> dict[str, Any]:
    """Counts and items as JSON values."""
    outcomes = Counter(one.outcome.value for one in scored)
    judged = [one for one in scored if one.outcome is Outcome.JUDGED]
    return {
        "num_passed": sum(one.passed for one in judged),
        "outcomes": {word.value: outcomes[word.value] for word in Outcome},
        "mean": sum(one.mean for one in judged) / len(judged) if judged else None,
        "num_hallucinations": sum(one.hallucination for one in judged),
        "entropy_bits": sum(one.entropy_bits for one in judged) / len(judged) if judged else None,
        "repeats": _noise(judged),
        "items": [asdict(one) for one in scored],
    }


def _noise(judged: Sequence[Scored]) -> dict[str, Any] | None:
    """The mean score over items and repeats, and the judge's part of its variance; None without repeats."""
    whole = [one.scores for one in judged if one.num_readable == one.num_repeats > 1]
    return asdict(repeated_mean(whole)) if len(whole) > 1 else None


def pair_results(
    first: EvalResult, second: EvalResult, rubric: Rubric, judge: Judge, items: Sequence[EvalItem] = ()
) -> JudgedPairs:
    """Which of two results on the same items is better, item by item. Raises EvaluationError, ModelError."""
    if first.items_hash != second.items_hash:
        raise EvaluationError(
            f"{first.label} and {second.label} were not evaluated on the same items; evaluate both on one file"
        )
    return pair_cases(
        cases_of(first, items), cases_of(second, items), rubric, judge, labels=(first.label, second.label)
    )


def pair_cases(
    first: Sequence[Case], second: Sequence[Case], rubric: Rubric, judge: Judge, *, labels: tuple[str, str]
) -> JudgedPairs:
    """`pair_results` for plain answers, which belong together by their ids.

    Raises EvaluationError where the ids differ, and where no pair got a verdict; ModelError.
    """
    by_id = {case.id: case for case in second}
    if {case.id for case in first} != by_id.keys() or len(first) != len(by_id):
        shared = len({case.id for case in first} & by_id.keys())
        raise EvaluationError(
            f"{labels[0]} and {labels[1]}: expected the same ids, found {len(first)} and {len(by_id)} answers with "
            f"{shared} ids in both"
        )
    cases = [
        PairCase(case.id, case.question, case.answer, by_id[case.id].answer, case.reference) for case in first
    ]
    paired = pair(judge, cases, rubric)
    decided = [one for one in paired if one.outcome in (Outcome.JUDGED, Outcome.DEGENERATE)]
    if not decided:
        raise EvaluationError(
            f"{judge.name} gave no verdict on any of {len(paired)} pairs; the first: {paired[0].reason}"
        )
    counts = Counter(one.better for one in decided)
    wins, losses = counts[Preference.SECOND], counts[Preference.FIRST]
    points = [_POINTS[one.better] for one in decided]
    p_value = mcnemar_exact(wins, losses)
    verdict = Evidence.NOT_ENOUGH
    if p_value < ALPHA:
        verdict = Evidence.BETTER if wins > losses else Evidence.WORSE
    return JudgedPairs(
        first=labels[0],
        second=labels[1],
        wins=wins,
        losses=losses,
        ties=counts[Preference.TIE],
        num_left_out=len(paired) - len(decided),
        num_follow_order=sum(one.follows_order for one in decided),
        difference=(wins - losses) / len(decided),
        interval=bootstrap_difference([1 - value for value in points], points),
        p_value=p_value,
        verdict=verdict,
        paired=tuple(paired),
        identity=judge.identity(rubric),
        judge=judge.description(rubric),
    )
