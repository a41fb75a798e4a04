"""exact and contains: an answer held against texts.

exact      the answer is the gold answer, but for case, spacing and closing punctuation
contains   every entry of `must` occurs (each by one of its alternatives) and no entry of `must_not`

How `contains` finds an entry:
- An entry that is a number is compared by value with the whole numbers of the answer. "68" occurs in "68 m",
  "68m", "68.0", "(68)", "60-68" and "$68"; not in "168", "68.5", "-68", "1,068", "68/2", "68th", "v68".
- Any other entry is a text: case, spacing, and the shape of quotes and dashes do not count, and it has to
  begin and end where a word does. "try" is not in "country", "metre" is not in "metres": give alternatives.
  A digit at its edge is not cut out of a longer number; the space between a number and its unit is free
  ("5.5 m" occurs in "5.5m" and the other way round, not in "15.5 m"). In scripts that put no spaces between
  words every place is a word's edge.
- Where `must` or `must_not` are given they alone decide, and `answer`, if any, is a gold answer that has to
  satisfy them. Where neither is given, `contains` looks for `answer`.

An empty answer never passes; where nothing has to occur, one without a letter or digit does not either.
This file knows nothing of models, files and statistics.
"""

from __future__ import annotations

import functools
import math
import re

from luthier.evaluation.graders.grader import MALFORMED, NONSENSE, Grader
from luthier.evaluation.graders.numbers import final_number, numbers_in, whole_number
from luthier.evaluation.graders.verdict import Verdict, failed, passed, ungradable
from luthier.evaluation.graders.words import WORD, WORD_ENDS, WORD_STARTS, fold, is_blank, plain
from luthier.evaluation.item import EvalItem

_NEUTRAL = ("I do not know.", "Something else.", "Hmm.")


@functools.lru_cache(maxsize=4096)
def _text_pattern(entry: str) -> re.Pattern[str]:
    folded = fold(entry)
    body = re.sub(r"(?<=[0-9])(?:\\ )?(?=[^\W\d_])", " ?", re.escape(folded))
    starts = WORD_STARTS if re.match(WORD, folded[0]) else ""
    ends = WORD_ENDS if re.match(WORD, folded[-1]) else ""
    if folded[0].isdigit():
        starts += r"(?<![0-9][.,])"
    if folded[-1].isdigit():
        ends += r"(?![.,][0-9])"
    return re.compile(starts + body + ends)


def occurs(entry: str, text: str) -> bool:
    """Whether an entry of `must` or `must_not` occurs in the text, as the docstring of this file says."""
    value = whole_number(entry)
    if value is not None:
        return any(number == value for number in numbers_in(text))
    return _text_pattern(entry).search(fold(text)) is not None


def exact(item: EvalItem, answer: str) -> Verdict:
    """Passed where the answer is `item.answer`, but for case, spacing and closing punctuation."""
    if item.answer is None:
        return ungradable("exact needs 'answer', and the item has none")
    found, gold = plain(answer), plain(item.answer)
    if not found:
        return failed("the answer is empty")
    return passed("equal to the gold answer") if found == gold else failed(f"expected {item.answer!r}")


def contains(item: EvalItem, answer: str) -> Verdict:
    """Passed where all of `must` and none of `must_not` occur in the answer."""
    must = item.must
    if not must and not item.must_not:
        if item.answer is None:
            return ungradable("contains needs 'must', 'must_not' or 'answer', and the item has none")
        must = ((item.answer,),)
    if not answer.strip() or (is_blank(answer) and not must):
        return failed("the answer is empty" if not answer.strip() else "the answer has no letter or digit")
    for entry in item.must_not:
        if occurs(entry, answer):
            return failed(f"contains {entry!r}, which must not occur")
    for alternatives in must:
        if not any(occurs(alternative, answer) for alternative in alternatives):
            return failed("missing " + " or ".join(repr(alternative) for alternative in alternatives))
    return passed(f"{len(must)} required found, {len(item.must_not)} forbidden absent")


def gold_answers(item: EvalItem) -> tuple[str, ...]:
    """Answers that have to pass: the gold one, and one built from `must` for each alternative in it."""
    given = () if item.answer is None else (item.answer,)
    if not item.must:
        free = tuple(text for text in _NEUTRAL if not any(occurs(entry, text) for entry in item.must_not))
        return given or free[:1]
    chosen = [alternatives[0] for alternatives in item.must]
    built = {" ; ".join(chosen): None}
    for index, alternatives in enumerate(item.must):
        for alternative in alternatives[1:]:
            built[" ; ".join([*chosen[:index], alternative, *chosen[index + 1 :]])] = None
    return (*given, *built)


def wrong_answers(item: EvalItem) -> tuple[str, ...]:
    """Answers that have to fail: empty, malformed, nonsense, another number, gold with a forbidden entry."""
    golds = [fold(gold) for gold in gold_answers(item)]
    wrong = [text for text in MALFORMED if plain(text) not in golds and fold(text) not in golds]
    wrong += [f"{gold} ; {entry}" for gold in gold_answers(item)[:1] for entry in item.must_not]
    if item.must or not item.must_not:
        wrong += [text for text in NONSENSE if not any(text in gold or gold in text for gold in golds)]
    if item.answer is not None and not item.must and not item.must_not:
        value = final_number(item.answer)
        wrong += [str(2 * math.ceil(abs(value)) + 1)] if value is not None else []
    return tuple(wrong)


EXACT = Grader("exact", exact, gold_answers, wrong_answers)
CONTAINS = Grader("contains", contains, gold_answers, wrong_answers, keys=("answer", "must", "must_not"))
