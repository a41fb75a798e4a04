"""Is every row a row: readable, of a known shape, with turns that make a conversation and answers to learn?

Knows nothing of how rows relate to each other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from luthier.chat.messages import ROLES
from luthier.data.checks.finding import CheckedData, CheckedRow, Finding, Severity, finding, rows_word
from luthier.data.formats import FORMATS

_KNOWN_FIELDS = frozenset().union(*(keys for keys, _ in FORMATS.values())) | {
    *("system", "tools", "text"),
    *("id", "tags", "source", "metadata"),  # said about a row, not to a model
}
_PAIR_ANSWERS = ("completion", "response", "answer")

_ADVICE = {
    "broken_json": "Repair or remove these lines; write the file with a JSON library, one object a line.",
    "not_utf8": "Save the file as UTF-8 (iconv -f latin1 -t utf-8, if it was latin1).",
    "not_an_object": 'Write one JSON object a line, such as {"messages": [...]}.',
    "unknown_shape": "Rename the fields to one of: "
    + "; ".join(", ".join(sorted(keys)) for keys, _ in FORMATS.values()),
    "unknown_role": f"Use only the roles {', '.join(ROLES)} (human is user, gpt is assistant).",
    "malformed_row": "Correct the field that the message names, or remove the rows.",
    "no_assistant_turn": "There is nothing to learn from such a row: add the answer, or remove the row.",
    "empty_answer": "A model would learn to say nothing: write the answer, or remove the row.",
    "roles_do_not_alternate": "Many chat templates refuse this: begin with the user, join turns of one role.",
    "turns_after_last_answer": "No answer follows, so training skips them: remove them, or add the answer.",
    "unused_fields": "Training does not read them. If one holds the system prompt or the answer, rename it.",
}
_SEVERITY: dict[str, Severity] = {
    "roles_do_not_alternate": "warning",
    "turns_after_last_answer": "note",
    "unused_fields": "note",
}


def check_shape(data: CheckedData) -> Iterable[Finding]:
    """All rows that are not what a row should be, by what is wrong with them. One row may be in several."""
    for _, rows in data.splits():
        found: dict[str, list[CheckedRow]] = defaultdict(list)
        for row in rows:
            for name in _troubles(row):
                found[name].append(row)
        for name in _ADVICE:
            if found[name]:
                yield _finding(name, found[name], rows)


def _troubles(row: CheckedRow) -> Iterator[str]:
    if row.defect is not None:
        yield _defect(row)
        return
    for name, has_trouble in _TROUBLES.items():
        if has_trouble(row):
            yield name


def _defect(row: CheckedRow) -> str:
    """The row's defect, by a nearer name where a common cause is known."""
    messages = row.value.get("messages")
    if isinstance(messages, list):
        roles = [message.get("role") for message in messages if isinstance(message, dict)]
        if any(role not in ROLES for role in roles):
            return "unknown_role"
        said = [m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "assistant"]
        if any(_is_blank(content) for content in said):
            return "empty_answer"
    elif row.defect == "malformed_row" and any(
        key in row.value and _is_blank(row.value[key]) for key in _PAIR_ANSWERS
    ):
        return "empty_answer"
    return str(row.defect)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _has_no_assistant_turn(row: CheckedRow) -> bool:
    if row.conversation is None or row.shape == "item":
        return False
    return all(message.role != "assistant" for message in row.conversation.messages)


def _has_empty_answer(row: CheckedRow) -> bool:
    if row.shape == "text":
        return _is_blank(row.value["text"])
    turns = row.conversation.messages if row.conversation else ()
    return any(m.role == "assistant" and not m.content.strip() and not m.tool_calls for m in turns)


def _does_not_alternate(row: CheckedRow) -> bool:
    turns = row.conversation.messages if row.conversation else ()
    roles = [message.role for message in turns if message.role != "system"]
    if roles and roles[0] != "user":
        return True
    # A tool's results may follow each other, and an assistant turn may follow them.
    return any(first == second and first != "tool" for first, second in pairwise(roles))


def _goes_on_after_last_answer(row: CheckedRow) -> bool:
    turns = row.conversation.messages if row.conversation else ()
    roles = [message.role for message in turns]
    return row.shape != "item" and "assistant" in roles and roles[-1] != "assistant"


def _unused_fields(row: CheckedRow) -> list[str]:
    return [] if row.shape == "item" else [key for key in row.value if key not in _KNOWN_FIELDS]


def _has_unused_fields(row: CheckedRow) -> bool:
    return bool(_unused_fields(row))


_TROUBLES: dict[str, Callable[[CheckedRow], bool]] = {
    "no_assistant_turn": _has_no_assistant_turn,
    "empty_answer": _has_empty_answer,
    "roles_do_not_alternate": _does_not_alternate,
    "turns_after_last_answer": _goes_on_after_last_answer,
    "unused_fields": _has_unused_fields,
}

_WHAT = {
    "broken_json": "hold no valid JSON",
    "not_utf8": "are not UTF-8",
    "not_an_object": "are JSON, but no objects",
    "unknown_shape": "have fields that no known format has",
    "unknown_role": "name a role that does not exist",
    "malformed_row": "have a field that cannot be read",
    "no_assistant_turn": "have no assistant turn",
    "empty_answer": "have an empty answer",
    "roles_do_not_alternate": "have roles that do not alternate",
    "turns_after_last_answer": "go on after the last answer",
    "unused_fields": "have fields that nothing reads",
}


def _finding(name: str, found: Sequence[CheckedRow], rows: Sequence[CheckedRow]) -> Finding:
    message = f"{len(found)} of {rows_word(len(rows))} {_WHAT[name]}"
    examples: list[str] | None = [row.problem or row.summary for row in found[:2]]
    if name == "unused_fields":
        fields = sorted({key for row in found for key in _unused_fields(row)})
        message += ": " + ", ".join(fields[:8]) + (", ..." if len(fields) > 8 else "")
        examples = None
    return finding(name, _SEVERITY.get(name, "error"), found, rows, message, _ADVICE[name], examples=examples)
