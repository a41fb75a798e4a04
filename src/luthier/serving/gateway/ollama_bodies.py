"""Ollama's request bodies, and what they mean here. Knows nothing of answers."""

from typing import Any

from pydantic import Field, field_validator

from luthier.chat.messages import Message
from luthier.serving.gateway.bodies import (
    Body,
    Messages,
    Unsupported,
    check_schema,
    read_inputs,
    read_messages,
    read_stops,
    read_tools,
    refuse_unsupported,
)
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.protocol import Request, Settings
from luthier.serving.refusals import BadRequest

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "min_p": (0, 0.0),
    "typical_p": (1, 1.0),
    "mirostat": (0,),
    "tfs_z": (1, 1.0),
}


class EmbedBody(Body):
    """POST /api/embed. A text that is too long is refused, and never cut: `truncate` may only be false."""

    model: str = Field(min_length=1, max_length=200)
    input: str | list[str]
    truncate: bool | None = None
    dimensions: Unsupported = None
    options: dict[str, Any] | None = None
    keep_alive: str | int | float | None = None

    def texts(self, bounds: Bounds) -> tuple[str, ...]:
        """What is asked for. Raises BadRequest."""
        refuse_unsupported(self, {"truncate": (False,), "dimensions": (), "options": ({},)})
        return read_inputs(self.input, bounds)


class Options(Body):
    """`options`: how an answer is sampled. num_predict: -1 and -2 are as long as the context and the server allow."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    repeat_penalty: float | None = Field(default=None, gt=0, le=10)
    num_predict: int | None = Field(default=None, ge=-2, le=131_072)
    num_ctx: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    mirostat: int | None = None
    tfs_z: float | None = None

    def settings(self, bounds: Bounds, context_length: int, format: Any) -> Settings:
        """Raises BadRequest."""
        refuse_unsupported(self, _NEUTRAL)
        if self.num_ctx is not None and self.num_ctx > context_length:
            raise BadRequest(f"num_ctx: the context here has {context_length} tokens", "num_ctx")
        if self.num_predict == 0:
            raise BadRequest("num_predict: expected at least 1, or -1", "num_predict")
        wanted = self.num_predict if self.num_predict is None or self.num_predict > 0 else context_length
        return Settings(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repeat_penalty,
            max_tokens=wanted,
            seed=None if self.seed is None else self.seed % 2**31,
            stop=read_stops(self.stop, bounds),
            json_schema=_schema(format),
        )


class Common(Body):
    """The fields that both have. keep_alive: what is served stays loaded, so any time but none at all is kept."""

    model: str = Field(min_length=1, max_length=200)
    stream: bool | None = True
    format: str | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: str | int | float | None = None
    think: bool | str | None = None

    @field_validator("keep_alive")
    @classmethod
    def _stays(cls, value: Any) -> Any:
        if str(value).strip() in ("0", "0.0", "0s", "0m", "0h"):
            raise ValueError("what is served stays loaded; an admin unloads it (POST /admin/specialists)")
        return value

    def common_settings(self, bounds: Bounds, context_length: int) -> Settings:
        """Raises BadRequest."""
        if self.think not in (None, False):
            raise BadRequest(
                "think: whether a model thinks is set by its template here; leave it out", "think"
            )
        return (self.options or Options()).settings(bounds, context_length, self.format)


class ChatBody(Common):
    """POST /api/chat."""

    messages: Messages = Field(default_factory=list)
    tools: list[dict[str, Any]] | None = None

    def request(self, id: str, bounds: Bounds, key_id: str | None, context_length: int) -> Request:
        """What is asked. Raises BadRequest that names the field."""
        return Request(
            id=id,
            model=model_name(self.model),
            messages=read_messages(self.messages, bounds),
            tools=read_tools(self.tools, bounds),
            settings=self.common_settings(bounds, context_length),
            key_id=key_id,
        )


class GenerateBody(Common):
    """POST /api/generate: one question; with `raw`, a text that goes on."""

    prompt: str = ""
    system: str | None = None
    raw: bool | None = False
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[str] | None = None

    def request(self, id: str, bounds: Bounds, key_id: str | None, context_length: int) -> Request:
        """What is asked. Raises BadRequest that names the field."""
        refuse_unsupported(self, {"suffix": ("",), "template": ("",), "context": ([],), "images": ([],)})
        settings = self.common_settings(bounds, context_length)
        model = model_name(self.model)
        if self.raw:
            if self.system:
                raise BadRequest(
                    "system: a raw prompt has no system prompt; write it into the prompt", "system"
                )
            return Request(id=id, model=model, prompt=self.prompt, settings=settings, key_id=key_id)
        system = (Message("system", self.system),) if self.system else ()
        messages = (*system, Message("user", self.prompt))
        return Request(id=id, model=model, messages=messages, settings=settings, key_id=key_id)


class ShowBody(Body):
    """POST /api/show."""

    model: str = Field(default="", max_length=200)
    name: str = Field(default="", max_length=200)
    verbose: bool | None = None


def model_name(name: str) -> str:
    """Ollama's NAME:TAG as NAME@VERSION; `latest` is what the bare name means."""
    name, _, tag = name.partition(":")
    return name if tag in ("", "latest") else f"{name}@{tag}"


def _schema(format: str | dict[str, Any] | None) -> Any:
    if format is None or format == "":
        return None
    if format == "json":
        return {}
    if isinstance(format, dict):
        return check_schema(format, "format")
    raise BadRequest(f'format: expected "json" or a JSON schema, got {format!r:.60}', "format")
