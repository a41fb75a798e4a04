"""Evaluation items: what a model is asked, and what a right answer is; read from a JSONL file.

A row is `{question | messages, answer | must | must_not, tags, id, source, grader}`:
  question   one user turn, or
  messages   turns of {role, content}; a trailing assistant turn is not shown to the model and is the gold
             answer where `answer` is absent
  answer     the gold answer, a text or a number; for graders of JSON also an object or a list
  must       a list; each entry is a text, a number, or a list of alternatives of which one has to occur
  must_not   a list of texts or numbers of which none may occur
  tags       a list of texts, for tables by tag
  id         a text or a whole number; without it, a short hash of the row's content
  source     a text: what the item shares with others (a document, a table)
  grader     a name in `graders.GRADERS`; without it, `graders.default_grader` chooses
and what else its grader reads (`Grader.keys`). A task hands its graders in; then no row names one.

Every item's graders are proved on that item while the file is read.
This file knows nothing of models and of how an answer comes to be.
"""

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from luthier.chat.messages import Message, conversation_from_messages
from luthier.errors import DataError, EvaluationError
from luthier.evaluation.graders import GRADERS, Grader, default_grader
from luthier.evaluation.graders.choice import choices_of, spell_choices
from luthier.evaluation.graders.json_text import spell_json
from luthier.evaluation.graders.proof import prove_with
from luthier.evaluation.item import EvalItem
from luthier.hashing import hash_json

KEYS = ("question", "messages", "answer", "must", "must_not", "tags", "id", "source", "grader")
_ID_HEX_DIGITS = 12
_PLACE = re.compile(r"\{([a-z_]+)\}")


def items_hash(items: Sequence[EvalItem]) -> str:
    """The id of a set of items: contents, ids and tags; their order does not count."""
    rows = [{"id": item.id, "tags": list(item.tags), **item.content()} for item in items]
    return hash_json(sorted(rows, key=lambda row: str(row["id"])))


def load_items(
    path: Path | str, *, graders: Sequence[Grader] = (), prompt: str | None = None
) -> tuple[EvalItem, ...]:
    """Read and prove the items of a JSONL file. Raises EvaluationError naming file, line and field.

    graders: those of a task, the first of which decides; without them each row's own. prompt: how a row becomes a
    user turn, with `{question}` and other keys of the row; without it, as the grader has it.
    """
    path = Path(path)
    items: list[EvalItem] = []
    line_of_id: dict[str, int] = {}
    named_line: int | None = None
    for number, value in read_rows(path):
        row = _Row(f"{path}:{number}", value, tuple(graders), prompt)
        item = row.item()
        if "id" in value:
            named_line = named_line or number
        elif named_line is not None:
            row.fail("id", f"missing, but line {named_line} has one; give every item an id, or none")
        if item.id in line_of_id:
            what = "this id" if "id" in value else "the same question with the same criteria"
            first = line_of_id[item.id]
            row.fail("id", f"{what} is already in line {first} ({item.id!r}); remove or change one of them")
        try:
            for grader in row.graders or (GRADERS[item.grader],):
                prove_with(grader, item)
        except EvaluationError as error:
            raise EvaluationError(f"{row.where}: {error}") from error
        line_of_id[item.id] = number
        items.append(item)
    if not items:
        raise EvaluationError(f"{path}: expected one JSON object per line, the file has no rows")
    return tuple(items)


def read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line number, JSON object) of each line that is not empty. Raises EvaluationError naming file and line."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise EvaluationError(f"{path}: cannot read the evaluation items: {reason}") from error
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        where = f"{path}:{number}"
        try:
            text = raw.decode("utf-8")
            value = json.loads(text, parse_constant=_refuse_constant)
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeDecodeError as error:
            problem = f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
            raise EvaluationError(f"{where}: {problem}") from error
        except UnicodeEncodeError as error:
            raise EvaluationError(f"{where}: holds half of a surrogate pair, which is not a text") from error
        except json.JSONDecodeError as error:
            problem = f"broken JSON at column {error.colno}: {error.msg}"
            raise EvaluationError(f"{where}: {problem}; expected one JSON object per line") from error
        except (ValueError, RecursionError) as error:
            raise EvaluationError(f"{where}: cannot be read as JSON: {error}") from error
        if not isinstance(value, dict):
            raise EvaluationError(f"{where}: expected a JSON object, found {_kind(value)}")
        yield number, value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


@dataclass(frozen=True, slots=True)
class _Row:
    """One JSON object on its way to an item; knows where it stands, for the errors."""

    where: str
    value: Mapping[str, Any]
    graders: tuple[Grader, ...]
    prompt: str | None

    def fail(self, field: str, problem: str) -> NoReturn:
        raise EvaluationError(f"{self.where}: field '{field}': {problem}")

    def item(self) -> EvalItem:
        named = self._named_grader()
        readers = self.graders or ((named,) if named is not None else ())
        extra_keys = sorted({key for grader in readers for key in grader.keys} - set(KEYS))
        self._check_keys(extra_keys)
        fields = {key: self.value[key] for key in extra_keys if key in self.value}
        messages, gold = self._messages()
        answer = self._answer(takes_json=any(grader.json_answer for grader in readers))
        answer = gold if answer is None else answer
        must = tuple(self._alternatives(entry) for entry in self._list("must"))
        must_not = tuple(self._text_or_number("must_not", entry) for entry in self._list("must_not"))
        if answer is None and not must and not must_not and not fields:
            raise EvaluationError(
                f"{self.where}: expected 'answer', 'must' or 'must_not', found none; "
                "without one there is nothing to grade by"
            )
        grader = readers[0] if readers else GRADERS[default_grader(answer, must, must_not)]
        tags = tuple(self._tag(tag) for tag in self._list("tags"))
        item = EvalItem("", messages, answer, must, must_not, tags, grader.name, fields, self._source())
        if "question" in self.value:
            item = dataclasses.replace(item, messages=self._prompted(item, grader))
        elif self.prompt is not None:
            self.fail("messages", "the task has a 'prompt', which only a 'question' goes into")
        return dataclasses.replace(item, id=self._id(item))

    def _check_keys(self, extra_keys: Sequence[str]) -> None:
        for key in self.value:
            if key not in KEYS and key not in extra_keys:
                self.fail(key, f"unknown; {_suggest(key, (*KEYS, *extra_keys))}")
        if ("question" in self.value) == ("messages" in self.value):
            found = "both" if "question" in self.value else "neither"
            raise EvaluationError(f"{self.where}: expected either 'question' or 'messages', found {found}")

    def _prompted(self, item: EvalItem, grader: Grader) -> tuple[Message, ...]:
        """The user turn, as the task's prompt or the grader's own makes it of the row."""

        def filled(match: re.Match[str]) -> str:
            key = match[1]
            if key not in self.value:
                self.fail(key, "the prompt asks for it, and the row has none")
            if key == "choices":
                try:
                    return spell_choices(choices_of(item))
                except EvaluationError as error:
                    raise EvaluationError(f"{self.where}: {error}") from error
            value = self.value[key]
            return value if isinstance(value, str) else spell_json(value)

        text = _PLACE.sub(filled, self.prompt if self.prompt is not None else grader.prompt)
        return (Message("user", text),)

    def _messages(self) -> tuple[tuple[Message, ...], str | None]:
        """The prompt, and the text of a trailing assistant turn."""
        if "question" in self.value:
            question = self.value["question"]
            if not isinstance(question, str) or not question.strip():
                self.fail("question", f"expected a text that is not empty, found {_kind(question)}")
            return (Message("user", question),), None
        try:
            messages = conversation_from_messages(self._list("messages")).messages
        except DataError as error:
            raise EvaluationError(f"{self.where}: field 'messages': {error}") from error
        gold = None
        if messages and messages[-1].role == "assistant":
            gold = messages[-1].content or None
            messages = messages[:-1]
        if not messages or messages[-1].role not in ("user", "tool"):
            last = f"the last one is from {messages[-1].role!r}" if messages else "there is none"
            self.fail("messages", f"expected a user turn to answer, {last}")
        return messages, gold

    def _answer(self, *, takes_json: bool) -> str | None:
        if "answer" not in self.value:
            return None
        value = self.value["answer"]
        if takes_json and not isinstance(value, str):
            return spell_json(value)
        return self._text_or_number("answer", value)

    def _named_grader(self) -> Grader | None:
        if "grader" not in self.value:
            return None
        name = self.value["grader"]
        if self.graders:
            self.fail("grader", "the task names the graders; remove it from the row")
        if not isinstance(name, str) or name not in GRADERS:
            self.fail("grader", f"no grader is called {name!r}; {_suggest(str(name), tuple(GRADERS))}")
        return GRADERS[name]

    def _source(self) -> str | None:
        source = self.value.get("source")
        if source is not None and (not isinstance(source, str) or not source.strip()):
            self.fail("source", f"expected a text that is not empty, found {_kind(source)}")
        return source

    def _id(self, item: EvalItem) -> str:
        if "id" not in self.value:
            return hash_json(item.content()).removeprefix("sha256:")[:_ID_HEX_DIGITS]
        identity = self.value["id"]
        if isinstance(identity, bool) or not isinstance(identity, str | int) or not str(identity).strip():
            self.fail("id", f"expected a text or a whole number, found {_kind(identity)}")
        return str(identity)

    def _list(self, field: str) -> list[Any]:
        value = self.value.get(field, [])
        if not isinstance(value, list):
            self.fail(field, f"expected a list, found {_kind(value)}")
        return value

    def _alternatives(self, entry: object) -> tuple[str, ...]:
        alternatives = entry if isinstance(entry, list) else [entry]
        if not alternatives:
            self.fail("must", "an entry has no alternatives; one of none can never occur")
        return tuple(self._text_or_number("must", alternative) for alternative in alternatives)

    def _tag(self, tag: object) -> str:
        if not isinstance(tag, str) or not tag.strip():
            self.fail("tags", f"expected texts that are not empty, found {_kind(tag)}")
        return tag

    def _text_or_number(self, field: str, value: object) -> str:
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return str(value)
        self.fail(field, f"expected a number or a text that is not empty, found {_kind(value)}")


def _kind(value: object) -> str:
    """A JSON value in the words of an error message."""
    if isinstance(value, str):
        return "an empty text" if not value.strip() else f"the text {value[:40]!r}"
    names = {dict: "an object", list: "a list", type(None): "null"}
    return names.get(type(value), json.dumps(value))


def _suggest(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    start = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"{start}known: {', '.join(known)}"
