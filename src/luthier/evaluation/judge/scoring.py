"""Answers scored by rubric, k times each. This file knows nothing of files and of where the answers came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from luthier.evaluation.judge.asking import Judge, Outcome, Prompt, Told, entropy_bits
from luthier.evaluation.judge.degenerate import degenerate_reason
from luthier.evaluation.judge.framing import scoring_messages
from luthier.evaluation.judge.replies import Scores, read_scores, scores_schema
from luthier.evaluation.judge.rubric import HIGHEST, LOWEST, Rubric


@dataclass(frozen=True, slots=True)
class Case:
    """One answer to judge, and what a right one says, where that is known."""

    id: str
    question: str
    answer: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer with its scores.

    by_criterion: the mean over the repeats that could be read, 1 to 5. mean: over the criteria, by weight.
    hallucination: whether at least half of the repeats flag it. score: the mean laid on 0 to 1; scores: that of each
    repeat that could be read. entropy_bits: of the repeats' scores, averaged over the criteria and the flag. Without
    a verdict the numbers are 0 and mean nothing.
    """

    id: str
    outcome: Outcome
    passed: bool
    by_criterion: Mapping[str, float]
    mean: float
    score: float
    scores: tuple[float, ...]
    hallucination: bool
    reason: str
    num_repeats: int
    num_readable: int
    entropy_bits: float


def score(judge: Judge, cases: Sequence[Case], rubric: Rubric) -> list[Scored]:
    """Every case scored, in order. Raises ModelError where the judge cannot be asked."""
    repeats = judge.settings.repeats
    reasons = [degenerate_reason(case.answer, case.reference) for case in cases]
    asked = [case for case, reason in zip(cases, reasons, strict=True) if reason is None]
    told = judge.ask([_prompt(case, rubric, repeat) for case in asked for repeat in range(repeats)])
    replies = iter(told[start : start + repeats] for start in range(0, len(told), repeats))
    return [
        _scored(case, next(replies), rubric)
        if reason is None
        else _unscored(case, Outcome.DEGENERATE, reason, num_repeats=0)
        for case, reason in zip(cases, reasons, strict=True)
    ]


def _prompt(case: Case, rubric: Rubric, repeat: int) -> Prompt[Scores]:
    judged = [text for text in (case.question, case.answer, case.reference) if text is not None]
    return Prompt(
        messages=scoring_messages(rubric, case.question, case.answer, case.reference),
        response_format=scores_schema(rubric),
        read=lambda text: read_scores(text, rubric, judged),
        repeat=repeat,
    )


def _scored(case: Case, told: Sequence[Told[Scores]], rubric: Rubric) -> Scored:
    verdicts = [value for one in told for value in one.values]
    if 2 * len(verdicts) <= len(told):
        unread = next(one for one in told if not one.values)
        return _unscored(case, unread.outcome, unread.problem, len(told), len(verdicts))
    names = [criterion.name for criterion in rubric.criteria]
    by_criterion = {name: fmean(one.by_criterion[name] for one in verdicts) for name in names}
    mean = rubric.mean(by_criterion)
    hallucination = 2 * sum(one.hallucination for one in verdicts) >= len(verdicts)
    entropies = [entropy_bits([one.by_criterion[name] for one in verdicts]) for name in names]
    entropies.append(entropy_bits([one.hallucination for one in verdicts]))
    return Scored(
        id=case.id,
        outcome=Outcome.JUDGED,
        passed=mean >= rubric.pass_mark and not hallucination,
        by_criterion=by_criterion,
        mean=mean,
        score=_unit(mean),
        scores=tuple(_unit(rubric.mean(one.by_criterion)) for one in verdicts),
        hallucination=hallucination,
        reason=verdicts[0].reason,
        num_repeats=len(told),
        num_readable=len(verdicts),
        entropy_bits=fmean(entropies),
    )


def _unit(mean: float) -> float:
    """A mean score laid on 0 to 1."""
    return (mean - LOWEST) / (HIGHEST - LOWEST)


def _unscored(case: Case, outcome: Outcome, reason: str, num_repeats: int, num_readable: int = 0) -> Scored:
    return Scored(
        id=case.id,
        outcome=outcome,
        passed=False,
        by_criterion={},
        mean=0.0,
        score=0.0,
        scores=(),
        hallucination=False,
        reason=reason,
        num_repeats=num_repeats,
        num_readable=num_readable,
        entropy_bits=0.0,
    )
