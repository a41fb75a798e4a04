"""What people said of answers, and how far a judge agrees with them beyond chance.

A row is `{question, answer, score | passed}` or `{question, first, second, preferred}`, with `reference` where there is
one. score: 1 to 5; passed: true or false; preferred: first, second or tie. Several people: a list of their words.
This file knows nothing of what agreement is enough.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from luthier.config import Config
from luthier.evaluation.judge.agreement import Kappa, cohen_kappa, krippendorff_alpha
from luthier.evaluation.judge.asking import Judge, Outcome
from luthier.evaluation.judge.pairing import PairCase, pair
from luthier.evaluation.judge.replies import Preference
from luthier.evaluation.judge.rows import typed_rows
from luthier.evaluation.judge.rubric import HIGHEST, LOWEST, Rubric
from luthier.evaluation.judge.scoring import Case, Scored, score

_Score = Annotated[StrictInt, Field(ge=LOWEST, le=HIGHEST)]
CATEGORIES: dict[str, tuple[Hashable, ...]] = {
    "score": tuple(range(LOWEST, HIGHEST + 1)),
    "passed": (False, True),
    "preferred": tuple(Preference),
}


class Label(Config):
    """One row: what was judged, and the words of one or more people."""

    id: str | int | None = None
    question: str
    reference: str | None = None
    answer: str | None = None
    first: str | None = None
    second: str | None = None
    score: _Score | tuple[_Score, ...] | None = None
    passed: StrictBool | tuple[StrictBool, ...] | None = None
    preferred: Preference | tuple[Preference, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in CATEGORIES if getattr(self, kind) not in (None, ())]
        if len(kinds) != 1:
            raise ValueError("expected exactly one of 'score', 'passed' and 'preferred'")
        is_pair = (self.answer is None, self.first is not None, self.second is not None)
        if is_pair != ((True,) * 3 if kinds == ["preferred"] else (False,) * 3):
            raise ValueError(
                "expected 'answer' beside 'score' or 'passed', 'first' and 'second' beside 'preferred'"
            )
        return self

    @property
    def kind(self) -> str:
        """score, passed or preferred."""
        return next(kind for kind in CATEGORIES if getattr(self, kind) is not None)

    @property
    def words(self) -> tuple[Any, ...]:
        """What each person said."""
        said = getattr(self, self.kind)
        return said if isinstance(said, tuple) else (said,)

    @property
    def consensus(self) -> Any:
        """The lower median of scores, or what most said. Without a majority: tie for preferences, else None."""
        if self.kind == "score":
            return median_low(self.words)
        (word, count), *others = Counter(self.words).most_common()
        if others and others[0][1] == count:
            return Preference.TIE if self.kind == "preferred" else None
        return word


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the judge with people, on one kind of label.

    kappa: with their consensus, quadratic weights for scores. alpha: over all raters, the judge one of them;
    alpha_people: over people alone, where at least two labelled the same row.
    """

    kind: str
    num_labels: int
    kappa: Kappa
    alpha: float
    alpha_people: float | None


def load_labels(path: Path | str) -> list[Label]:
    """Read a file of labels. Raises EvaluationError that names file, line and field."""
    return typed_rows(path, Label)


def measure_agreement(judge: Judge, labels: Sequence[Label], rubric: Rubric) -> list[Agreement]:
    """One per kind of label on which the judge gave any verdict. Raises ModelError where it cannot be asked."""
    found = []
    for kind, categories in CATEGORIES.items():
        rows = [label for label in labels if label.kind == kind]
        said = _judge_words(judge, rows, kind, rubric)
        both = [(row.consensus, word) for row, word in zip(rows, said, strict=True)]
        pairs = [(one, word) for one, word in both if one is not None and word is not None]
        if not pairs:
            continue
        is_ordinal = kind == "score"
        agreed, judged = [one for one, _ in pairs], [word for _, word in pairs]
        kappa = cohen_kappa(agreed, judged, categories, is_ordinal=is_ordinal)
        raters = [(*row.words, word) for row, word in zip(rows, said, strict=True) if word is not None]
        people = [row.words for row in rows if len(row.words) > 1]
        alpha_people = krippendorff_alpha(people, categories, is_ordinal=is_ordinal) if people else None
        alpha = krippendorff_alpha(raters, categories, is_ordinal=is_ordinal)
        found.append(Agreement(kind, len(rows), kappa, alpha, alpha_people))
    return found


def _judge_words(judge: Judge, rows: Sequence[Label], kind: str, rubric: Rubric) -> list[Any]:
    """The judge's word for each row; None where it gave no verdict."""
    if kind == "preferred":
        cases = [
            PairCase(str(place), row.question, row.first or "", row.second or "", row.reference)
            for place, row in enumerate(rows)
        ]
        return [
            one.better if one.outcome in (Outcome.JUDGED, Outcome.DEGENERATE) else None
            for one in pair(judge, cases, rubric)
        ]
    singles = [
        Case(str(place), row.question, row.answer or "", row.reference) for place, row in enumerate(rows)
    ]
    return [_word(one, kind) for one in score(judge, singles, rubric)]


def _word(one: Scored, kind: str) -> Any:
    if one.outcome is Outcome.DEGENERATE:
        return LOWEST if kind == "score" else False
    if one.outcome is not Outcome.JUDGED:
        return None
    return int(one.mean + 0.5) if kind == "score" else one.passed
