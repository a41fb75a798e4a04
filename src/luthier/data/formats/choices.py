"""Multiple choice: a question, its choices and which is right, as an index, a letter or the choice itself.

The question is asked with its choices as lettered lines; the answer is the letter.
"""

import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from luthier.data.example import Example
from luthier.data.formats.fields import list_field, optional_text, parse_json, rest, said, text_field
from luthier.data.formats.format import make_format
from luthier.data.formats.losses import SYSTEM, pair_losses, pair_of
from luthier.data.formats.turns import chat
from luthier.errors import DataError

_COLUMN = re.compile(r"(?:choice|option)_?(\d+|[A-J])|[A-J]")
_ANSWERS = ("answer", "answerKey", "answer_key", "label", "target")


def _columns(value: Mapping[str, Any]) -> list[str]:
    """The fields that hold one choice each, in their order: choice0, choice1, ... or A, B, ..."""
    found = [key for key in value if _COLUMN.fullmatch(key) and value[key] is not None]
    return sorted(found, key=lambda key: (len(key), key)) if len(found) > 1 else []


def _answer_name(value: Mapping[str, Any]) -> str | None:
    return next((key for key in _ANSWERS if key in value), None)


def _named(value: Mapping[str, Any]) -> bool:
    with_choices = "choices" in value or ("question" in value and bool(_columns(value)))
    return "question" in value and with_choices and _answer_name(value) is not None


def _fits(value: Mapping[str, Any]) -> bool:
    choices = value.get("choices")
    if isinstance(choices, str):
        return choices.startswith(("[", "{"))
    return isinstance(choices, list | dict) or bool(_columns(value))


def _choices(value: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(the choices, the letters that the row itself gives them)."""
    columns = [] if value.get("choices") is not None else _columns(value)
    listed: Any = [value[key] for key in columns] if columns else value.get("choices")
    if isinstance(listed, str):
        listed = parse_json(listed, "field 'choices'")
    letters: list[str] = []
    if isinstance(listed, Mapping):
        letters = [str(one) for one in list_field(listed, "label")]
        listed = list_field(listed, "text")
    if not isinstance(listed, list | tuple) or not 2 <= len(listed) <= len(ascii_uppercase):
        raise DataError(f"field 'choices': expected a list of 2 to 26 choices, got {said(listed)}")
    names = columns or ["choices"] * len(listed)
    texts = [_choice(one, name) for one, name in zip(listed, names, strict=True)]
    return texts, letters if len(letters) == len(texts) else []


def _choice(value: Any, key: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or len(said(value)) > 40:
        raise DataError(f"field {key!r}: expected a choice (a text or a number), got {said(value)}")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _right(answer: Any, choices: list[str], letters: list[str], key: str) -> int:
    """Which choice is right, from 0."""
    last = len(choices) - 1
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer <= last:
        return answer
    if isinstance(answer, str):
        plain = answer.strip()
        if plain in letters:
            return letters.index(plain)
        if len(plain) == 1 and plain.upper() in ascii_uppercase[: last + 1]:
            return ascii_uppercase.index(plain.upper())
        if plain.isascii() and plain.isdigit() and len(plain) < 3 and int(plain) <= last:
            return int(plain)
        if choices.count(answer) == 1:
            return choices.index(answer)
    raise DataError(
        f"field {key!r}: expected 0 to {last}, A to {ascii_uppercase[last]}, or one of the choices, got {said(answer)}"
    )


def _ask(question: str, choices: list[str]) -> str:
    lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    return question + "\n\n" + "\n".join(lines)


def _read(value: Mapping[str, Any]) -> Example:
    question = text_field(value, "question")
    choices, letters = _choices(value)
    key = _answer_name(value) or "answer"
    letter = ascii_uppercase[_right(value.get(key), choices, letters, key)]
    conversation = chat(
        optional_text(value, "system"), ("user", _ask(question, choices)), ("assistant", letter)
    )
    used = {"question", "system", key, "choices"} | set(
        () if value.get("choices") is not None else _columns(value)
    )
    return Example("chat", conversation, label=letter, question=question, extra=rest(value, used))


def _take_apart(asked: str) -> tuple[str, list[str]]:
    """The question and its choices. Raises DataError where the turn has none."""
    question, found, listed = asked.rpartition("\n\nA. ")
    choices = []
    for letter in ascii_uppercase[1:]:
        choice, more, listed = listed.partition(f"\n{letter}. ")
        choices.append(choice)
        if not more:
            break
    if not found or not question.strip() or len(choices) < 2 or _ask(question, choices) != asked:
        raise DataError("the question has no choices: lines that begin with A., B., ... after an empty line")
    return question, choices


def _write(example: Example) -> dict[str, Any]:
    pair = pair_of(example.messages)
    question, choices = _take_apart(pair.asked)
    if pair.answered not in ascii_uppercase[: len(choices)] or len(pair.answered) != 1:
        raise DataError(f"the answer is not the letter of a choice: {said(pair.answered)}")
    row: dict[str, Any] = {"question": question, "choices": choices, "answer": pair.answered}
    return row | ({} if pair.system is None else {"system": pair.system})


def _loses(example: Example) -> list[str]:
    try:
        _write(example)
    except DataError:
        return ["a question without choices, or an answer that is not the letter of one"]
    return pair_losses(example, frozenset({SYSTEM}))


MULTIPLE_CHOICE = make_format(
    "multiple-choice",
    "field question, choices (or choice0, choice1, ...) and answer",
    fields=frozenset({"question", "choices", *_ANSWERS, "system", *ascii_uppercase[:10]})
    | {f"choice{number}" for number in range(26)},
    named=_named,
    fits=_fits,
    read=_read,
    write=_write,
    kinds=frozenset({"chat"}),
    loses=_loses,
    reserved=frozenset({"question", "choices", "answer", "system"}),
)
