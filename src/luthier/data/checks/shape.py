"""Is every row a row: readable, of a known format, with turns that make a conversation and answers to learn?

Knows nothing of how rows relate to each other, nor of files as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, Self

from luthier.chat.messages import ROLES
from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, Severity, rows_word
from luthier.data.checks.row import CheckedRow

# What a row says about itself, not to a model.
_ABOUT_THE_ROW = frozenset(
    [
        "id",
        "idx",
        "index",
        "uuid",
        "tag",
        "tags",
        "source",
        "metadata",
        "meta",
        "score",
        "scores",
        "name",
        "category",
        "topic",
        "language",
        "lang",
        "split",
        "task",
        "type",
        "date",
        "url",
        "license",
        "licence",
        "dataset",
        "origin",
        "weight",
        "difficulty",
    ]
)
_ANSWER_FIELDS = frozenset(["completion", "response", "answer", "output", "label", "chosen"])
_OTHER_MARKS = re.compile(r"\d images for \d+ <image> marks")
_TURNS_FIELDS = ("messages", "conversations")
_MAX_FIELDS_LISTED = 8


class _Trouble(NamedTuple):
    severity: Severity
    what: str
    advice: str


_TROUBLES: dict[str, _Trouble] = {
    "broken_json": _Trouble(
        "error",
        "hold no valid JSON",
        "Repair or remove these lines; write the file with a JSON library, one object a line.",
    ),
    "not_utf8": _Trouble(
        "error",
        "are not UTF-8",
        "Save the file as UTF-8 (iconv -f latin1 -t utf-8, if it was latin1), or let luthier data fix do it.",
    ),
    "not_an_object": _Trouble(
        "error", "are JSON, but no objects", 'Write one JSON object a line, such as {"messages": [...]}.'
    ),
    "broken_table": _Trouble(
        "error",
        "do not fit the table they stand in",
        "Quote values that hold the separator, a quote or a line break; write the file with a CSV library.",
    ),
    "too_large": _Trouble(
        "error",
        "are too large to be one row",
        "Look for a missing line break, or cut the document into rows.",
    ),
    "unknown_shape": _Trouble(
        "error",
        "have fields that no known format has",
        "Rename the fields, or say which they are: --fields prompt=question_text,completion=reply. The most usual "
        "are messages; prompt and completion; instruction and output; question and answer; text and label; text. "
        "The page on data of the guide lists all.",
    ),
    "unknown_role": _Trouble(
        "error",
        "name a role that does not exist",
        f"Use only the roles {', '.join(ROLES)} (human is user, gpt is assistant).",
    ),
    "malformed_row": _Trouble(
        "error",
        "have a field that cannot be read",
        "Correct the field that the message names, or remove the rows.",
    ),
    "image_marks_differ": _Trouble(
        "error",
        "have another number of images than of <image> marks in the text",
        "Write one <image> for each image, where it belongs.",
    ),
    "no_assistant_turn": _Trouble(
        "error",
        "have no assistant turn",
        "There is nothing to learn from such a row: add the answer, or remove the row.",
    ),
    "empty_answer": _Trouble(
        "error",
        "have an empty answer",
        "A model would learn to say nothing: write the answer, or remove the row.",
    ),
    "unknown_tool": _Trouble(
        "error",
        "call a tool that they do not offer",
        "Add the tool to the row's tools, or correct the name of the call.",
    ),
    "identical_answers": _Trouble(
        "warning",
        "have a rejected answer that is the chosen one",
        "Such a pair prefers nothing: correct one of the answers, or remove the row.",
    ),
    "roles_do_not_alternate": _Trouble(
        "warning",
        "have roles that do not alternate",
        "Many chat templates refuse this: begin with the user, join turns of one role.",
    ),
    "turns_after_last_answer": _Trouble(
        "note",
        "go on after the last answer",
        "No answer follows, so training skips them: remove them, or add the answer.",
    ),
    "unused_fields": _Trouble(
        "note",
        "have fields that nothing reads",
        "Training does not read them. If one holds the system prompt or the answer, rename it.",
    ),
}


class Shape(Check):
    """All rows that are not what a row should be, by what is wrong with them. One row may be in several."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.unused: dict[str, set[str]] = {}

    def see(self, row: CheckedRow) -> None:
        if row.defect is not None:
            self.tallies[row.split, _nearer_name(row)].add(row)
            return
        for name, has_trouble in _TESTS:
            if has_trouble(row):
                self.tallies[row.split, name].add(row)
        unused = _unused_fields(row)
        if unused:
            self.tallies[row.split, "unused_fields"].add(row)
            self._list(row.split, unused)

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split, names in later.unused.items():
            self._list(split, names)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            tallies = self.tallies.of(split)
            for name, (severity, what, advice) in _TROUBLES.items():
                if name in tallies:
                    tally = tallies[name]
                    message = f"{tally.count:,} of {rows_word(totals.rows[split])} {what}"
                    if name == "unused_fields":
                        message += f": {_listed(self.unused[split])}"
                    yield tally.finding(name, severity, split, totals, message, advice)

    def _list(self, split: str, names: Iterable[str]) -> None:
        """Keep the alphabetically first names: the same ones however the rows were cut into pieces."""
        known = self.unused.setdefault(split, set())
        known.update(names)
        if len(known) > _MAX_FIELDS_LISTED + 1:
            self.unused[split] = set(sorted(known)[: _MAX_FIELDS_LISTED + 1])


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:_MAX_FIELDS_LISTED]) + (
        ", ..." if len(names) > _MAX_FIELDS_LISTED else ""
    )


def _nearer_name(row: CheckedRow) -> str:
    """The row's defect, by a nearer name where a common cause is known."""
    turns = next((row.value[key] for key in _TURNS_FIELDS if isinstance(row.value.get(key), list)), None)
    if row.defect == "malformed_row":
        if row.problem is not None and "role " in row.problem and "does not exist" in row.problem:
            return "unknown_role"
        if row.problem is not None and _OTHER_MARKS.search(row.problem):
            return "image_marks_differ"
        said = [_said(turn) for turn in turns or () if _speaker(turn) in ("assistant", "gpt")]
        said += [row.value[key] for key in _ANSWER_FIELDS & row.value.keys()]
        if any(_is_blank(text) for text in said):
            return "empty_answer"
    return str(row.defect)


def _speaker(turn: Any) -> Any:
    return turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None


def _said(turn: Mapping[str, Any]) -> Any:
    return True if turn.get("tool_calls") else turn.get("content", turn.get("value"))


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _has_no_assistant_turn(row: CheckedRow) -> bool:
    if row.example is None or row.example.kind == "text" or row.shape == "item":
        return False
    return all(turn.role != "assistant" for turn in row.messages)


def _has_empty_answer(row: CheckedRow) -> bool:
    if row.example is not None and row.example.kind == "text":
        return _is_blank(row.example.text)
    return any(m.role == "assistant" and not m.tool_calls and _is_blank(m.content) for m in row.messages)


def _calls_unknown_tool(row: CheckedRow) -> bool:
    # Without any tool on offer the calls may be described in the system prompt, in the author's own words.
    if row.example is None or not row.example.conversation.tools:
        return False
    called = {call.name for turn in row.messages for call in turn.tool_calls}
    return bool(called) and not called <= set(_offered(row.example.conversation.tools))


def _offered(tools: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for tool in tools:
        function = tool.get("function")
        yield str((function if isinstance(function, Mapping) else tool).get("name"))


def _answers_are_identical(row: CheckedRow) -> bool:
    example = row.example
    return example is not None and bool(example.chosen) and example.chosen == example.rejected


def _does_not_alternate(row: CheckedRow) -> bool:
    roles = [turn.role for turn in row.messages if turn.role != "system"]
    if roles and roles[0] != "user":
        return True
    # A tool's results may follow each other, and an assistant turn may follow them.
    return any(first == second and first != "tool" for first, second in pairwise(roles))


def _goes_on_after_last_answer(row: CheckedRow) -> bool:
    turns = row.messages
    if row.shape == "item" or not turns or turns[-1].role == "assistant":
        return False
    return any(turn.role == "assistant" for turn in turns)


def _unused_fields(row: CheckedRow) -> list[str]:
    """Fields of a conversation that are not read. Tables of other kinds have columns of their own by right."""
    if row.example is None or row.example.kind != "chat" or row.shape == "item" or not row.example.extra:
        return []
    return [key for key in row.example.extra if not _is_about_the_row(key)]


def _is_about_the_row(key: str) -> bool:
    low = key.lower()
    return low in _ABOUT_THE_ROW or low.endswith(("_id", "-id", "_score"))


_TESTS: tuple[tuple[str, Callable[[CheckedRow], bool]], ...] = (
    ("no_assistant_turn", _has_no_assistant_turn),
    ("empty_answer", _has_empty_answer),
    ("unknown_tool", _calls_unknown_tool),
    ("identical_answers", _answers_are_identical),
    ("roles_do_not_alternate", _does_not_alternate),
    ("turns_after_last_answer", _goes_on_after_last_answer),
)
