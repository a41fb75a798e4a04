"""choice: one of several choices, named by its letter or by its words.

The row has `choices` (a list of texts) and `answer`: a letter, a place counted from 0, or the words of a choice.
This file knows nothing of models and of how the choice was made (said, or the likeliest).
"""

from __future__ import annotations

import re
import string

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import MALFORMED, NONSENSE, Grader
from luthier.evaluation.graders.verdict import Verdict, failed, passed
from luthier.evaluation.graders.words import fold, plain
from luthier.evaluation.item import EvalItem

LETTERS = string.ascii_uppercase
_FIRST = re.compile(r"[(\[*]*([a-z])(?:[)\].:,*]|$)")
_SAID = re.compile(r"\b(?:answer|choice|option)(?: is)?:? *[(\[*]*([a-z])\b(?!')")


def choices_of(item: EvalItem) -> tuple[str, ...]:
    """The texts of the choices. Raises EvaluationError where the row has none, or two that read alike."""
    choices = item.fields.get("choices")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise EvaluationError(f"field 'choices': expected a list of 2 to 26 texts, found {choices!r:.80}")
    texts = tuple(str(choice) for choice in choices)
    if len({plain(text) for text in texts}) != len(texts) or not all(text.strip() for text in texts):
        raise EvaluationError("field 'choices': two read alike, or one is empty")
    return texts


def gold_index(item: EvalItem) -> int:
    """The place of the right choice, from 0. Raises EvaluationError where `answer` names none."""
    choices = choices_of(item)
    gold = (item.answer or "").strip()
    for index, text in enumerate(choices):
        if plain(text) == plain(gold):
            return index
    if len(gold) == 1 and gold.upper() in LETTERS[: len(choices)]:
        return LETTERS.index(gold.upper())
    if gold.isdigit() and int(gold) < len(choices):
        return int(gold)
    raise EvaluationError(f"field 'answer': {item.answer!r} names none of the {len(choices)} choices")


def spell_choices(choices: tuple[str, ...]) -> str:
    """One line per choice: "A. its text"."""
    return "\n".join(f"{LETTERS[index]}. {text}" for index, text in enumerate(choices))


def chosen(item: EvalItem, answer: str) -> int | None:
    """Which choice an answer names: by its words, by a letter it begins with, or by "the answer is B"."""
    choices = choices_of(item)
    said = plain(answer)
    for index, text in enumerate(choices):
        if said == plain(text):
            return index
    first, later = _FIRST.match(fold(answer)), _SAID.findall(fold(answer))
    letter = first[1] if first else later[-1] if later else None
    index = LETTERS.find(letter.upper()) if letter else -1
    return index if 0 <= index < len(choices) else None


def grade(item: EvalItem, answer: str) -> Verdict:
    """Passed where the answer names the right choice."""
    gold, found = gold_index(item), chosen(item, answer)
    if found is None:
        return failed("the answer names no choice")
    what = f"{LETTERS[found]}, expected {LETTERS[gold]}"
    return passed(what) if found == gold else failed(what)


def _golds(item: EvalItem) -> tuple[str, ...]:
    index = gold_index(item)
    letter, text = LETTERS[index], choices_of(item)[index]
    return (text, letter, f"({letter})", f"{letter}. {text}", f"The answer is {letter}.")


def _wrongs(item: EvalItem) -> tuple[str, ...]:
    gold, choices = gold_index(item), choices_of(item)
    others = [index for index in range(len(choices)) if index != gold]
    blank = [text for text in (*MALFORMED, *NONSENSE) if plain(text) != plain(choices[gold])]
    return (*blank, *(choices[index] for index in others), *(LETTERS[index] for index in others))


CHOICE = Grader(
    "choice",
    grade,
    _golds,
    _wrongs,
    keys=("answer", "choices"),
    prompt="{question}\n\n{choices}\n\nAnswer with the letter.",
)
