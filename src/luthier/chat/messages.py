"""Messages and conversations: what every data format becomes before it is rendered.

Knows nothing of files, templates, tokens or models. The errors raised here say which message is
wrong; the caller, who knows the file and the row, adds where it came from.
"""

import difflib
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from luthier.errors import DataError

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_KEYS = ("role", "content", *_REASONING_KEYS, "tool_calls", "tool_call_id", "weight", "name")
_OTHER_WORDS_FOR_WEIGHT = ("train", "trainable", "training", "loss")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool by the assistant. `arguments` is a JSON object."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `weight` None is the default: 1 for the assistant, 0 for everyone else.

    Raises DataError for a role that does not exist, a weight that is negative or not finite, and
    a weight, reasoning or tool calls on a turn that is not the assistant's.
    """

    role: Role
    content: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    weight: float | None = None
    name: str | None = None
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"role {self.role!r:.60} does not exist: expected one of {', '.join(ROLES)}")
        if self.role != "assistant" and (self.weight or self.reasoning or self.tool_calls):
            what = "weight" if self.weight else "reasoning" if self.reasoning else "tool_calls"
            raise DataError(f"a {self.role} turn has {what}: only assistant turns may; remove the field")
        if self.weight is not None and not (math.isfinite(self.weight) and self.weight >= 0):
            raise DataError(f"weight {self.weight} of an assistant turn: expected a number of at least 0")

    @property
    def token_weight(self) -> float:
        """The weight of each token that this turn says: 0 is context, 1 is learn."""
        if self.role != "assistant":
            return 0.0
        return 1.0 if self.weight is None else float(self.weight)

    def to_dict(self) -> dict[str, Any]:
        """The dict handed to chat templates, with the field names that they read."""
        value: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning is not None:
            value["reasoning_content"] = self.reasoning
        if self.tool_calls:
            value["tool_calls"] = [_tool_call_dict(call) for call in self.tool_calls]
        if self.name is not None:
            value["name"] = self.name
        if self.tool_call_id is not None:
            value["tool_call_id"] = self.tool_call_id
        return value


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, with the tools that were on offer and anything the row says about itself."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def conversation_from_messages(
    raw: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = ()
) -> Conversation:
    """A conversation from role/content dicts as in the OpenAI format. Raises DataError naming the message.

    Content may be a string, a list of text parts, or absent beside tool calls; tool arguments may be an
    object or its JSON text; reasoning may be called reasoning_content, reasoning or thinking.
    """
    if isinstance(raw, (str, bytes, Mapping)) or not isinstance(raw, Sequence):
        raise DataError(f"messages: expected a list of objects, got {type(raw).__name__}")
    if not raw:
        raise DataError("messages: the list is empty; a conversation needs at least one turn")
    if isinstance(tools, (str, bytes, Mapping)) or not all(isinstance(tool, Mapping) for tool in tools):
        raise DataError("tools: expected a list of JSON objects, one per tool")
    messages = []
    for number, value in enumerate(raw, start=1):
        try:
            messages.append(_message(value))
        except DataError as error:
            raise DataError(f"message {number}: {error}") from None
    return Conversation(messages=tuple(messages), tools=tuple(tools))


def _message(value: Any) -> Message:
    if not isinstance(value, Mapping):
        raise DataError(f"expected an object with role and content, got {type(value).__name__}")
    _refuse_misspelt(value)
    role = value.get("role")
    if role not in ROLES:
        raise DataError(f"role {role!r:.60} does not exist: expected one of {', '.join(ROLES)}")
    calls = value.get("tool_calls") or ()
    if not isinstance(calls, (list, tuple)):
        raise DataError(f"tool_calls: expected a list, got {type(calls).__name__}")
    reasoning = next((value[key] for key in _REASONING_KEYS if value.get(key) is not None), None)
    name, tool_call_id = value.get("name"), value.get("tool_call_id")
    for key, text in (("reasoning", reasoning), ("name", name), ("tool_call_id", tool_call_id)):
        if text is not None and not isinstance(text, str):
            raise DataError(f"{key}: expected a string, got {type(text).__name__}")
    return Message(
        role=cast(Role, role),
        content=_content(value.get("content"), may_be_absent=bool(calls)),
        reasoning=reasoning,
        tool_calls=tuple(_tool_call(call) for call in calls),
        weight=_weight(value.get("weight")),
        name=name,
        tool_call_id=tool_call_id,
    )


def _refuse_misspelt(value: Mapping[str, Any]) -> None:
    for key in value:
        if key in _KEYS:
            continue
        if key in _OTHER_WORDS_FOR_WEIGHT:
            raise DataError(
                f"field {key!r:.60} is not read: write weight: 0 for a turn that is not to be learned"
            )
        near = _nearest_key(str(key))
        if near is not None and near not in value:
            raise DataError(f"field {key!r:.60} is unknown: did you mean {near!r:.60}?")


@functools.lru_cache(maxsize=1024)
def _nearest_key(key: str) -> str | None:
    near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.85)
    return near[0] if near else None


def _content(content: Any, *, may_be_absent: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_absent:
        return ""
    if isinstance(content, list):
        return "".join(_text_part(part) for part in content)
    raise DataError(
        f"content: expected a string, got {'nothing' if content is None else type(content).__name__}"
    )


def _text_part(part: Any) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return cast(str, part["text"])
    if isinstance(part, Mapping) and part.get("type") == "text":
        raise DataError(
            f"content: a part of type 'text' needs a field 'text', got {', '.join(map(repr, part)):.200}"
        )
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise DataError(f"content: a part of type {kind!r:.60}; only parts of type 'text' can be rendered")


def _weight(weight: Any) -> float | None:
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise DataError(f"weight: expected a number of at least 0, got {weight!r:.60}")
    try:
        return float(weight)
    except OverflowError:
        raise DataError("weight: expected a number of at least 0, got one beyond all bounds") from None


def _tool_call(value: Any) -> ToolCall:
    function = (value.get("function") or value) if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError("tool_calls: each call needs a name and arguments")
    arguments = function.get("arguments")
    arguments = {} if arguments is None else arguments
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"tool_calls: the arguments of {function['name']!r:.60} are not JSON: {error}"
            ) from None
    if not isinstance(arguments, Mapping):
        raise DataError(f"tool_calls: the arguments of {function['name']!r:.60} must be a JSON object")
    call_id = value.get("id")
    if call_id is not None and not isinstance(call_id, str):
        raise DataError(
            f"tool_calls: the id of {function['name']!r:.60} must be a text, got {type(call_id).__name__}"
        )
    return ToolCall(name=function["name"], arguments=arguments, id=call_id)


def _tool_call_dict(call: ToolCall) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": "function",
        "function": {"name": call.name, "arguments": dict(call.arguments)},
    }
    if call.id is not None:
        value["id"] = call.id
    return value
