"""retrieval: a question on a context; an answer from it, or the word that it is not there.

The row has `context`, and `answers` (a list of texts, any of which is right; an empty list where the context does not
say) or `answer`. An item's score is the token F1 with the nearest answer, as in SQuAD; where the context does not say,
1 for abstaining and 0 for anything else. Faithfulness is the share of an answer's content words and numbers that stand
in the context: it finds inventions, not false combinations.
Source: Rajpurkar, Jia and Liang, Know What You Don't Know (2018), for exact match, F1 and unanswerable questions.
This file knows nothing of models and files.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import MALFORMED, NONSENSE, Figure, Graded, Grader, mean_figure
from luthier.evaluation.graders.verdict import Verdict, failed, passed, scored
from luthier.evaluation.graders.words import fold, is_blank
from luthier.evaluation.item import EvalItem

ABSTENTIONS = (
    "not in the context",
    "not in the text",
    "not mentioned",
    "not stated",
    "not say",
    "no answer",
    "unanswerable",
    "cannot be answered",
    "can't be answered",
    "cannot answer",
    "can't answer",
    "do not know",
    "don't know",
    "not enough information",
    "no information",
)
_SMALL_WORDS = """
    a an and are as at be but by for from had has have he her his i in is it its of on or she so that the their
    them they this to was were which who will with
"""
_EMPTY_WORDS = frozenset(_SMALL_WORDS.split())
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


def normalised(text: str) -> str:
    """As SQuAD does: lower case, no punctuation, no articles, single spaces."""
    bare = _PUNCTUATION.sub("", fold(text))
    return " ".join(word for word in bare.split() if word not in ("a", "an", "the"))


def token_f1(answer: str, gold: str) -> float:
    """F1 of the words that both have, after `normalised`."""
    said, wanted = Counter(normalised(answer).split()), Counter(normalised(gold).split())
    total = said.total() + wanted.total()
    return 2 * (said & wanted).total() / total if total else 0.0


def faithfulness(answer: str, context: str) -> float:
    """The share of the answer's content words that stand in the context, from 0 to 1; 1 where it has none."""
    there = set(normalised(context).split())
    words = [word for word in normalised(answer).split() if word not in _EMPTY_WORDS]
    return sum(word in there for word in words) / len(words) if words else 1.0


def answers_of(item: EvalItem) -> tuple[str, ...]:
    """The right answers; none where the context does not say. Raises EvaluationError where the row is silent."""
    answers = item.fields.get("answers", [item.answer] if item.answer is not None else None)
    if not isinstance(answers, list) or not all(
        isinstance(text, str) and normalised(text) for text in answers
    ):
        raise EvaluationError(
            "expected 'answer', or a list of texts in 'answers' (empty where the context does not say)"
        )
    if not isinstance(item.fields.get("context"), str):
        raise EvaluationError("field 'context': expected a text")
    return tuple(answers)


def retrieval(abstentions: Sequence[str] = ABSTENTIONS) -> Grader:
    """A grader of questions on a context; `abstentions` are the words that say "it is not there"."""
    if not abstentions or not all(phrase.strip() for phrase in abstentions):
        raise EvaluationError("abstentions: expected texts that are not empty")
    phrases = tuple(fold(phrase) for phrase in abstentions)

    def abstains(answer: str) -> bool:
        return any(phrase in fold(answer) for phrase in phrases)

    def grade(item: EvalItem, answer: str) -> Verdict:
        golds = answers_of(item)
        if is_blank(answer):
            return failed("the answer is empty", exact=0.0, abstained=False, faithful=None)
        if abstains(answer) and not any(normalised(answer) == normalised(gold) for gold in golds):
            details = {"exact": 0.0, "abstained": True, "faithful": None}
            return (
                failed("abstained, but the context says it", **details)
                if golds
                else passed("abstained: the context does not say", **details)
            )
        faithful = faithfulness(answer, str(item.fields["context"]))
        if not golds:
            return failed(
                "answered what is not in the context", exact=0.0, abstained=False, faithful=faithful
            )
        score = max(token_f1(answer, gold) for gold in golds)
        exact = float(any(normalised(answer) == normalised(gold) for gold in golds))
        return scored(score, f"F1 {score:.2f}", exact=exact, abstained=False, faithful=faithful)

    def wrongs(item: EvalItem) -> tuple[str, ...]:
        return (*MALFORMED, *NONSENSE, *((phrases[0],) if answers_of(item) else ()))

    return Grader(
        "retrieval",
        grade,
        lambda item: answers_of(item) or (abstentions[0],),
        wrongs,
        keys=("answer", "answers", "context"),
        prompt="{context}\n\n{question}",
        figures=_figures,
    )


def _figures(graded: Sequence[Graded]) -> list[Figure]:
    can = [bool(answers_of(one.item)) for one in graded]
    details = [one.verdict.details for one in graded]
    said = [float(d["abstained"]) for d in details]
    pairs = list(zip(can, graded, strict=True))
    return [
        *mean_figure("score", [one.verdict.score for one in graded]),
        *mean_figure("exact_match", [one.verdict.details["exact"] if yes else None for yes, one in pairs]),
        *mean_figure("token_f1", [one.verdict.score if yes else None for yes, one in pairs]),
        *mean_figure("faithfulness", [d["faithful"] for d in details]),
        *mean_figure("abstained_rightly", [None if yes else a for yes, a in zip(can, said, strict=True)]),
        *mean_figure("abstained_wrongly", [a if yes else None for yes, a in zip(can, said, strict=True)]),
    ]


RETRIEVAL = retrieval()
