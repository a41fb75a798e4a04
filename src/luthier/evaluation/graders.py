"""Graders: an item and the text of an answer -> a verdict.

exact      the answer is the gold answer, but for case, spacing and closing punctuation
contains   every entry of `must` occurs (each by one of its alternatives) and no entry of `must_not`
numeric    the last number of the answer is the gold number

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

What a number is: digits with an optional sign, thousands separators ("1,234.5"), a decimal point or comma
("5,5"; three digits after a comma are thousands), an exponent ("2e3"), a fraction ("3/4", "1 1/2", "½").
Its unit may touch it ("68m"); "68th" is a rank, "10²" a power and "1.2.3" a version, none of them a number.
Number words are not read: give "three" as an alternative to "3".

An empty answer never passes; where nothing has to occur, one without a letter or digit does not either.
A grader is a plain function; another one joins by its name in `GRADERS`.
This file knows nothing of models, files and statistics.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from luthier.errors import EvaluationError
from luthier.evaluation.item import EvalItem

RELATIVE_TOLERANCE = Fraction(1, 1_000_000)


class VerdictWord(StrEnum):
    """What became of an answer. A grader that fails itself says nothing about the answer: `ungradable`."""

    PASSED = "passed"
    FAILED = "failed"
    UNGRADABLE = "ungradable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A word with its evidence. `score` is 1.0 for right and 0.0 for wrong or ungradable."""

    word: VerdictWord
    score: float
    reason: str


Grader = Callable[["EvalItem", str], Verdict]


def passed(reason: str) -> Verdict:
    return Verdict(VerdictWord.PASSED, 1.0, reason)


def failed(reason: str) -> Verdict:
    return Verdict(VerdictWord.FAILED, 0.0, reason)


def ungradable(reason: str) -> Verdict:
    return Verdict(VerdictWord.UNGRADABLE, 0.0, reason)


# Texts

# Letters and digits, but for scripts that put no spaces between words: there every place is a word's edge.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = rf"[^\W_{_UNSPACED}]"
_WORD_STARTS = rf"(?<!{_WORD})(?<!{_WORD}_)"
_WORD_ENDS = rf"(?!{_WORD}|_{_WORD})"
_SHAPES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "‑": "-"})
_CLOSING = " .,;:!?…。！？"


def fold(text: str) -> str:
    """The text without what never matters: case, spacing, composition, shapes of quotes and dashes."""
    composed = unicodedata.normalize("NFC", text).casefold().translate(_SHAPES)
    return " ".join(unicodedata.normalize("NFC", composed).split())


def _plain(text: str) -> str:
    folded = fold(text)
    return folded.rstrip(_CLOSING) or folded


def _is_blank(text: str) -> bool:
    return not any(character.isalnum() for character in text)


@functools.lru_cache(maxsize=4096)
def _text_pattern(entry: str) -> re.Pattern[str]:
    folded = fold(entry)
    body = re.sub(r"(?<=[0-9])(?:\\ )?(?=[^\W\d_])", " ?", re.escape(folded))
    starts = _WORD_STARTS if re.match(_WORD, folded[0]) else ""
    ends = _WORD_ENDS if re.match(_WORD, folded[-1]) else ""
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


# Numbers

_NOT_LONGER = r"(?![0-9]|[.,][0-9])"
_DECIMAL = (
    rf"(?:[0-9]{{1,3}}(?:[,\u00a0\u2009\u202f][0-9]{{3}})+(?:\.[0-9]+)?{_NOT_LONGER}"  # 1,234.5
    rf"|[0-9]{{1,3}}(?:\.[0-9]{{3}})+,[0-9]+{_NOT_LONGER}"  # 1.234,5
    rf"|(?<![0-9],)(?:0,[0-9]+|[0-9]+,[0-9]{{1,2}}){_NOT_LONGER}"  # 5,5
    r"|[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
)
_FRACTION = r"(?:(?P<whole>[0-9]{1,9}) )?(?P<top>[0-9]{1,9})/(?P<bottom>[0-9]{1,9})(?![/.,]?[0-9])"
_NUMBER = re.compile(
    rf"{_WORD_STARTS}(?<![0-9]\.)(?P<sign>(?<![\w)\]])[-+])?[$€£¥]?"
    rf"(?:(?<![0-9]/){_FRACTION}|(?P<decimal>{_DECIMAL})(?P<exponent>e[-+]?[0-9]{{1,3}}(?![^\W_]))?)"
    r"(?![0-9]|\.[0-9]|[⁰¹²³⁴-⁹]|(?:st|nd|rd|th)(?![^\W_]))",
    re.IGNORECASE,
)
_LATEX_FRACTION = re.compile(r"([0-9])?\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_VULGAR_FRACTION = re.compile(r"(?:([0-9]) ?)?([¼-¾⅐-⅞↉])")
_MAX_DIGITS = 300
_FINAL_ANSWER = "####"


def _spell_fractions(text: str) -> str:
    """Write "5½" and LaTeX fractions as "5 1/2", and the minus sign as a hyphen."""

    def latex(match: re.Match[str]) -> str:
        return f"{match[1]} {match[2]}/{match[3]}" if match[1] else f"{match[2]}/{match[3]}"

    def vulgar(match: re.Match[str]) -> str:
        fraction = unicodedata.normalize("NFKC", match[2])
        return f"{match[1]} {fraction}" if match[1] else fraction

    text = _VULGAR_FRACTION.sub(vulgar, _LATEX_FRACTION.sub(latex, text))
    return text.replace("⁄", "/").replace("−", "-")


def _value(match: re.Match[str]) -> Fraction | None:
    if match["decimal"] is None:
        bottom = int(match["bottom"])
        size = int(match["whole"] or 0) + Fraction(int(match["top"]), bottom) if bottom else None
    else:
        text = re.sub("[\u00a0\u2009\u202f]", "", match["decimal"])
        is_thousands = re.fullmatch(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+", text)
        if re.fullmatch(r"[0-9.]+,[0-9]+", text) and not is_thousands:
            text = text.replace(".", "").replace(",", ".")
        text = text.replace(",", "") + (match["exponent"] or "")
        size = Fraction(text) if len(text) <= _MAX_DIGITS else None
    return -size if size is not None and match["sign"] == "-" else size


def numbers_in(text: str) -> list[Fraction]:
    """Every number of the text, in order, as an exact value."""
    return [value for value, _, _ in _scan(_spell_fractions(text))]


def whole_number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else; None where it is anything more."""
    spelled = _spell_fractions(text.strip())
    for value, start, end in _scan(spelled):
        return value if (start, end) == (0, len(spelled)) and spelled[0] not in "$€£¥" else None
    return None


def _scan(text: str) -> Iterator[tuple[Fraction, int, int]]:
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            yield value, match.start(), match.end()


def final_number(text: str) -> Fraction | None:
    """The last number after the last "####" where there is one, else the last number of the text."""
    numbers = numbers_in(text.rpartition(_FINAL_ANSWER)[2])
    return numbers[-1] if numbers else None


# Graders


def exact(item: EvalItem, answer: str) -> Verdict:
    """Passed where the answer is `item.answer`, but for case, spacing and closing punctuation."""
    if item.answer is None:
        return ungradable("exact needs 'answer', and the item has none")
    found, gold = _plain(answer), _plain(item.answer)
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
    if not answer.strip() or (_is_blank(answer) and not must):
        return failed("the answer is empty" if not answer.strip() else "the answer has no letter or digit")
    for entry in item.must_not:
        if occurs(entry, answer):
            return failed(f"contains {entry!r}, which must not occur")
    for alternatives in must:
        if not any(occurs(alternative, answer) for alternative in alternatives):
            return failed("missing " + " or ".join(repr(alternative) for alternative in alternatives))
    return passed(f"{len(must)} required found, {len(item.must_not)} forbidden absent")


def numeric_within(relative: Fraction | float, absolute: Fraction | float = 0) -> Grader:
    """A numeric grader: passed where |answer - gold| <= max(absolute, relative x |gold|)."""
    relative_tolerance, absolute_tolerance = Fraction(relative), Fraction(absolute)

    def grade(item: EvalItem, answer: str) -> Verdict:
        gold = final_number(item.answer) if item.answer is not None else None
        if gold is None:
            return ungradable(f"numeric needs a number in 'answer', found {item.answer!r}")
        found = final_number(answer)
        if found is None:
            return failed("the answer has no number where one is expected")
        tolerance = max(absolute_tolerance, relative_tolerance * abs(gold))
        what = f"{_spell_number(found)}, expected {_spell_number(gold)}"
        return passed(what) if abs(found - gold) <= tolerance else failed(what)

    return grade


def _spell_number(value: Fraction) -> str:
    try:
        return f"{float(value):.12g}"
    except OverflowError:
        return "a number beyond 1e308"


numeric: Grader = numeric_within(RELATIVE_TOLERANCE)

GRADERS: dict[str, Grader] = {"exact": exact, "contains": contains, "numeric": numeric}
_READ_ONLY_ANSWER = ("exact", "numeric")


def default_grader(
    answer: str | None, must: tuple[tuple[str, ...], ...] = (), must_not: tuple[str, ...] = ()
) -> str:
    """`contains` where there are criteria, `numeric` where the answer is a number, else `exact`."""
    if must or must_not:
        return "contains"
    if answer is None:
        return "exact"
    bare = answer.strip().removesuffix("%").lstrip("$€£¥")
    is_number = whole_number(bare) is not None
    has_final = _FINAL_ANSWER in answer and final_number(answer) is not None
    return "numeric" if is_number or has_final else "exact"


# Proof

_MALFORMED = ("", " \n", "...", "\ufffd\ufffd", "{[(")
_NONSENSE = ("qwxv zkj", "blorptang")
_NEUTRAL = ("I do not know.", "Something else.", "Hmm.")


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
    wrong = [text for text in _MALFORMED if _plain(text) not in golds and fold(text) not in golds]
    wrong += [f"{gold} ; {entry}" for gold in gold_answers(item)[:1] for entry in item.must_not]
    if item.must or not item.must_not:
        wrong += [text for text in _NONSENSE if not any(text in gold or gold in text for gold in golds)]
    if item.answer is not None and not item.must and not item.must_not:
        value = final_number(item.answer)
        wrong += [str(2 * math.ceil(abs(value)) + 1)] if value is not None else []
    return tuple(wrong)


def prove(item: EvalItem) -> None:
    """Show that the item's grader tells right from wrong on this item. Raises EvaluationError naming it."""
    who = f"item {item.id!r}"
    if item.grader not in GRADERS:
        raise EvaluationError(f"{who}: no grader is called {item.grader!r}; known: {', '.join(GRADERS)}")
    if item.grader in _READ_ONLY_ANSWER and (item.must or item.must_not):
        raise EvaluationError(
            f"{who}: the grader '{item.grader}' reads only 'answer' and would ignore 'must' and 'must_not'; "
            "remove them, or use 'contains'"
        )
    golds = gold_answers(item)
    if not golds:
        raise EvaluationError(f"{who}: no gold answer can be built; give one in 'answer'")
    for text in golds:
        verdict = _graded(item, text)
        if verdict.word is not VerdictWord.PASSED or verdict.score != 1.0:
            raise EvaluationError(
                f"{who}: its gold answer {_short(text)} does not pass its own grader '{item.grader}': "
                f"{verdict.reason}; correct the answer or the criteria"
            )
    for text in wrong_answers(item):
        verdict = _graded(item, text)
        if verdict.word is VerdictWord.PASSED or verdict.score != 0.0:
            raise EvaluationError(
                f"{who}: the grader '{item.grader}' passes the wrong answer {_short(text)} "
                f"({verdict.reason}); the criteria let anything through"
            )


def _graded(item: EvalItem, text: str) -> Verdict:
    try:
        return GRADERS[item.grader](item, text)
    except Exception as error:
        raise EvaluationError(
            f"item {item.id!r}: the grader '{item.grader}' failed on {_short(text)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
