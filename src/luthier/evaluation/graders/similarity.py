"""similarity: how much an answer looks like its references. Weak evidence: a wrong answer can look right.

BLEU and chrF by sacrebleu, ROUGE-L by rouge-score. The row has `answer`, or `references` (a list of texts).
An item's score is the chosen measure of its answer alone; the figures of the whole set are worked out over the set,
not as means of items, where the measure is defined so (BLEU, chrF).
This file knows nothing of models and files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import MALFORMED, Figure, Graded, Grader, Indices, mean_figure
from luthier.evaluation.graders.needs import need
from luthier.evaluation.graders.verdict import Verdict, failed, scored
from luthier.evaluation.item import EvalItem

MEASURES = ("chrf", "bleu", "rouge_l")
# Characters of several scripts: an answer of some that a reference lacks shares nothing with it.
_ALPHABET = "qxzjkvwybfghpmucldrsinoate" + "ξψωθλ" + "жщыэюя" + "漢字仮名"


def references_of(item: EvalItem) -> tuple[str, ...]:
    """The texts that an answer is held against. Raises EvaluationError where there is none."""
    references = item.fields.get("references", [item.answer] if item.answer is not None else [])
    if not isinstance(references, list) or not references:
        raise EvaluationError("expected 'answer' or a list of texts in 'references', found neither")
    if not all(isinstance(text, str) and text.strip() for text in references):
        raise EvaluationError("field 'references': expected texts that are not empty")
    return tuple(references)


def similarity(measure: str = "chrf") -> Grader:
    """A grader by one of `MEASURES`, from 0 to 1."""
    if measure not in MEASURES:
        raise EvaluationError(f"measure: expected one of {', '.join(MEASURES)}, found {measure!r}")
    score_of = _sentence_score(measure)

    def grade(item: EvalItem, answer: str) -> Verdict:
        references = references_of(item)
        if not answer.strip():
            return failed("the answer is empty")
        score = min(1.0, round(score_of(answer, references), 9))
        return scored(score, f"{measure} {100 * score:.1f}")

    return Grader(
        "similarity", grade, references_of, _wrongs, keys=("answer", "references"), figures=_figures
    )


def _wrongs(item: EvalItem) -> tuple[str, ...]:
    used = set("".join(references_of(item)).casefold())
    free = [character for character in _ALPHABET if character not in used][:4]
    blank = [text for text in MALFORMED if not set(text) & used]
    return (*blank, *([" ".join(["".join(free)] * 2)] if free else []))


def _sentence_score(measure: str) -> Callable[[str, Sequence[str]], float]:
    if measure == "rouge_l":
        return _rouge_l()
    metrics: Any = need("sacrebleu.metrics", "metrics")
    scorer = metrics.CHRF() if measure == "chrf" else metrics.BLEU(effective_order=True)
    return lambda answer, references: float(scorer.sentence_score(answer, list(references)).score) / 100


def _rouge_l() -> Callable[[str, Sequence[str]], float]:
    rouge: Any = need("rouge_score.rouge_scorer", "metrics").RougeScorer(["rougeL"])

    def best(answer: str, references: Sequence[str]) -> float:
        return max(float(rouge.score(reference, answer)["rougeL"].fmeasure) for reference in references)

    return best


def _figures(graded: Sequence[Graded]) -> list[Figure]:
    metrics: Any = need("sacrebleu.metrics", "metrics")
    answers = [one.answer for one in graded]
    references = [references_of(one.item) for one in graded]
    most = max(map(len, references))
    everything = tuple(range(len(graded)))

    def corpus(name: str, scorer: Any) -> Figure:
        def of(drawn: Indices) -> float:
            streams = [
                [references[i][place] if place < len(references[i]) else None for i in drawn]
                for place in range(most)
            ]
            return float(scorer.corpus_score([answers[i] for i in drawn], streams).score) / 100

        return Figure(name, of, everything)

    rouge = _rouge_l()
    means = [rouge(answer, texts) for answer, texts in zip(answers, references, strict=True)]
    return [
        corpus("chrf", metrics.CHRF()),
        corpus("bleu", metrics.BLEU()),
        *mean_figure("rouge_l", means),
    ]
