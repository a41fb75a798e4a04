"""An interaction and what was said of it, as rows of the record and back; every text goes through `redact` first.

Whatever a client sent can be written: characters that are no text are replaced, values that are no JSON become texts.
Knows nothing of databases.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.chat.messages import conversation_from_messages
from luthier.serving.protocol import Feedback, Interaction, Usage

Redact = Callable[[str], str]

# Our own words stand in every record; to search them for secrets would take longer than all the rest.
_OWN_WORDS = frozenset(
    {"decision", "messages", "prompt", "answers", "finish_reasons", "details"}
    | {"role", "system", "user", "assistant", "tool", "content", "reasoning_content", "tool_calls"}
    | {"type", "function", "name", "arguments", "id", "stop", "length"}
    | {"word", "why", "probabilities", "specialist", "model"}
)


def interaction_row(one: Interaction, redact: Redact) -> dict[str, Any]:
    """The columns of `tables.interactions` but its number."""
    body = {
        "decision": one.decision,
        "messages": [message.to_dict() for message in one.messages],
        "prompt": one.prompt,
        "answers": one.answers,
        "finish_reasons": one.finish_reasons,
        "details": one.details,
    }
    return {
        "id": _text(one.id),
        "created": _text(one.created),
        "key_id": _text(one.key_id),
        "model": _text(redact(one.model)),
        "specialist": _text(one.specialist),
        "outcome": _text(one.outcome),
        "shadow_of": _text(one.shadow_of),
        "num_prompt": int(one.usage.num_prompt),
        "num_generated": int(one.usage.num_generated),
        "num_prompt_cached": int(one.usage.num_prompt_cached),
        "first_token_seconds": None if one.first_token_seconds is None else _finite(one.first_token_seconds),
        "total_seconds": _finite(one.total_seconds),
        "body": json.dumps(_redacted(body, redact), ensure_ascii=False),
    }


def feedback_row(one: Feedback, redact: Redact) -> dict[str, Any]:
    """The columns of `tables.feedback` but its number."""
    return {
        "interaction_id": _text(one.interaction_id),
        "created": _text(one.created),
        "thumb": one.thumb,
        "rating": one.rating,
        "correction": None if one.correction is None else _text(redact(one.correction)),
        "comment": None if one.comment is None else _text(redact(one.comment)),
        "key_id": _text(one.key_id),
    }


def interaction_of(row: Mapping[str, Any]) -> Interaction:
    """What was written, redacted as it was."""
    body = json.loads(row["body"])
    messages = conversation_from_messages(body["messages"]).messages if body["messages"] else ()
    return Interaction(
        id=row["id"],
        created=row["created"],
        key_id=row["key_id"],
        model=row["model"],
        specialist=row["specialist"],
        decision=body["decision"],
        messages=messages,
        prompt=body["prompt"],
        answers=tuple(body["answers"]),
        outcome=row["outcome"],
        finish_reasons=tuple(body["finish_reasons"]),
        usage=Usage(row["num_prompt"], row["num_generated"], row["num_prompt_cached"]),
        first_token_seconds=row["first_token_seconds"],
        total_seconds=row["total_seconds"],
        shadow_of=row["shadow_of"],
        details=body["details"],
    )


def feedback_of(row: Mapping[str, Any]) -> Feedback:
    """What was written, redacted as it was."""
    return Feedback(**{name: row[name] for name in Feedback.__dataclass_fields__})


def num_characters(one: Interaction) -> int:
    """About how much an interaction holds in memory: its texts."""
    turns = sum(len(message.content) + len(message.reasoning or "") for message in one.messages)
    return turns + len(one.prompt or "") + sum(map(len, one.answers))


def _redacted(value: Any, redact: Redact) -> Any:
    """A JSON value with every text in it redacted, names of fields too."""
    if isinstance(value, str):
        return value if value in _OWN_WORDS else _text(redact(value))
    if isinstance(value, Mapping):
        return {_redacted(str(key), redact): _redacted(one, redact) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_redacted(one, redact) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _text(redact(str(value)))


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):  # the database would take it for nothing, and refuse the whole batch
        raise ValueError(f"{seconds} seconds")
    return float(seconds)


def _text(value: str | None) -> Any:
    """Without half characters, which no file can hold."""
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")
