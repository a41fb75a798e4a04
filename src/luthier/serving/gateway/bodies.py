"""What the bodies of both APIs have in common: strict fields, messages, tools, the shape of an answer.

What is not known is refused by name and never ignored. What cannot change an answer may say so: null, and the values
that mean "as always".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from luthier.chat.messages import Message, conversation_from_messages
from luthier.errors import DataError
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.refusals import BadRequest

_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id"}
_MESSAGE_KEYS |= {"reasoning_content", "reasoning", "thinking", "tool_name"}
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_ROLES = {"enum": ["system", "developer", "user", "assistant", "tool"]}
_MESSAGE = {"type": "object", "required": ["role"], "properties": {"role": _ROLES}}
Messages = Annotated[list[dict[str, Any]], WithJsonSchema({"type": "array", "items": _MESSAGE})]
"""What clients may read of messages; `read_messages` checks all of it, and says what is wrong."""
Unsupported = Annotated[Any, WithJsonSchema({"type": "null"})]
"""A field of the API that cannot be met: `refuse_unsupported` says so, and clients can read it."""


class Body(BaseModel):
    """A JSON object whose fields are all known, and are what they say."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def refuse_unsupported(body: Body, neutral: Mapping[str, tuple[Any, ...]]) -> None:
    """`neutral`: fields that are known and cannot be met, with the values that ask for nothing. Raises BadRequest."""
    for name, values in neutral.items():
        value = getattr(body, name)
        if value is not None and value not in values:
            raise BadRequest(f"{name}: {value!r:.80} is not supported here; leave it out", name)


def read_messages(raw: Sequence[Mapping[str, Any]], bounds: Bounds) -> tuple[Message, ...]:
    """Messages as both APIs send them. Raises BadRequest that names the message."""
    if len(raw) > bounds.max_messages:
        raise BadRequest(f"messages: at most {bounds.max_messages}, got {len(raw)}", "messages")
    try:
        found = conversation_from_messages([_message(number, one) for number, one in enumerate(raw, 1)])
    except (DataError, RecursionError) as error:
        raise BadRequest(f"messages: {error}", "messages") from error
    # A weight is a matter of training; whatever came in is not this request's to set.
    return tuple(replace(message, weight=None) for message in found.messages)


def _message(number: int, raw: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in raw.items():
        if name not in _MESSAGE_KEYS and value not in (None, [], ""):
            raise BadRequest(f"messages: message {number}: {name!r:.60} is not supported here", "messages")
    kept = {name: value for name, value in raw.items() if name in _MESSAGE_KEYS}
    if kept.get("role") == "developer":
        kept["role"] = "system"
    if (tool := kept.pop("tool_name", None)) is not None:
        kept.setdefault("name", tool)
    return kept


def read_tools(raw: Sequence[Mapping[str, Any]] | None, bounds: Bounds) -> tuple[Mapping[str, Any], ...]:
    """Tools, each a function with a name. Raises BadRequest."""
    tools = tuple(raw or ())
    if len(tools) > bounds.max_tools:
        raise BadRequest(f"tools: at most {bounds.max_tools}, got {len(tools)}", "tools")
    for number, tool in enumerate(tools):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, Mapping):
            raise BadRequest(
                f'tools.{number}: expected {{"type": "function", "function": {{"name": ...}}}}', "tools"
            )
        name = function.get("name")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise BadRequest(f"tools.{number}: its name: expected letters, digits, '_', '-', '.'", "tools")
        if not isinstance(function.get("parameters", {}), Mapping):
            raise BadRequest(f"tools.{number}: parameters: expected a JSON schema", "tools")
    return tools


def read_inputs(raw: str | Sequence[str], bounds: Bounds) -> tuple[str, ...]:
    """Texts to be embedded, one or several. Raises BadRequest."""
    texts = (raw,) if isinstance(raw, str) else tuple(raw)
    if not 1 <= len(texts) <= bounds.max_inputs:
        raise BadRequest(f"input: expected 1 to {bounds.max_inputs} texts, got {len(texts)}", "input")
    return texts


def read_stops(raw: str | Sequence[str] | None, bounds: Bounds) -> tuple[str, ...]:
    """Stop texts, one or several. Raises BadRequest."""
    stops = (raw,) if isinstance(raw, str) else tuple(raw or ())
    if len(stops) > bounds.max_stops:
        raise BadRequest(f"stop: at most {bounds.max_stops} texts, got {len(stops)}", "stop")
    if any(not stop or len(stop) > bounds.max_stop_characters for stop in stops):
        raise BadRequest(f"stop: expected texts of 1 to {bounds.max_stop_characters} characters", "stop")
    return stops


def check_schema(schema: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """A JSON schema that is one. Raises BadRequest."""
    import jsonschema

    try:
        jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(
            dict(schema)
        )
    except (jsonschema.SchemaError, RecursionError, TypeError) as error:
        told = getattr(error, "message", None) or "it cannot be read"
        raise BadRequest(f"{field}: not a JSON schema: {told:.300}", field) from error
    return schema
