"""OpenAI's request bodies, and what they mean here. Knows nothing of answers."""

from typing import Annotated, Any, Literal

from pydantic import Field

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

MAX_ANSWERS, MAX_TOKENS = 16, 131_072
Seed = Field(default=None, ge=-(2**63), le=2**63 - 1)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
    "service_tier": ("auto", "default"),
    "store": (False,),
}


class StreamOptions(Body):
    """What a stream tells at its end."""

    include_usage: bool = False


class Common(Body):
    """The fields that both completions have."""

    model: str = Field(min_length=1, max_length=200)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    n: int | None = Field(default=1, ge=1, le=MAX_ANSWERS)
    seed: int | None = Seed
    stop: str | list[str] | None = None
    user: str | None = Field(default=None, max_length=500)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def common_settings(self, bounds: Bounds) -> dict[str, Any]:
        """The settings that both completions have."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "seed": None if self.seed is None else self.seed % 2**31,
            "stop": read_stops(self.stop, bounds),
            "num_answers": self.n or 1,
        }


class ChatBody(Common):
    """POST /v1/chat/completions. `orchestrate`: ours, for `auto`: a question of several specialists may be split."""

    messages: Messages = Field(min_length=1, json_schema_extra={"minItems": 1})
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    orchestrate: bool = False

    def request(self, id: str, bounds: Bounds, key_id: str | None) -> Request:
        """What is asked. Raises BadRequest that names the field."""
        refuse_unsupported(self, _NEUTRAL | {"metadata": ({},), "parallel_tool_calls": (True,)})
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise BadRequest("max_tokens and max_completion_tokens differ: send one of them", "max_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            raise BadRequest("top_logprobs needs logprobs: true", "top_logprobs")
        settings = Settings(
            **self.common_settings(bounds),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            num_top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            json_schema=_schema(self.response_format),
        )
        return Request(
            id=id,
            model=self.model,
            messages=read_messages(self.messages, bounds),
            tools=self._tools(bounds),
            settings=settings,
            key_id=key_id,
            orchestrate=self.orchestrate,
        )

    def _tools(self, bounds: Bounds) -> tuple[Any, ...]:
        """Under tool_choice none, no tool is offered; to force a call is more than a template can."""
        tools = read_tools(self.tools, bounds)
        if self.tool_choice not in (None, "auto", "none"):
            raise BadRequest("tool_choice: expected auto or none", "tool_choice")
        return () if self.tool_choice == "none" else tools


class CompletionBody(Common):
    """POST /v1/completions: a text is continued as it is."""

    prompt: str | list[str]
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = False
    suffix: str | None = None
    best_of: Annotated[int | None, Field(ge=1, le=MAX_ANSWERS)] = None

    def request(self, id: str, bounds: Bounds, key_id: str | None) -> Request:
        """What is asked. Raises BadRequest that names the field."""
        neutral = _NEUTRAL | {"echo": (False,), "suffix": ("",), "best_of": (self.n or 1,)}
        refuse_unsupported(self, {k: v for k, v in neutral.items() if k in CompletionBody.model_fields})
        prompt = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(prompt) != 1:
            raise BadRequest(
                f"prompt: expected one text, got {len(prompt)}; send one request for each", "prompt"
            )
        settings = Settings(
            **self.common_settings(bounds), max_tokens=self.max_tokens or 16, num_top_logprobs=self.logprobs
        )
        return Request(id=id, model=self.model, prompt=prompt[0], settings=settings, key_id=key_id)


class EmbeddingsBody(Body):
    """POST /v1/embeddings. dimensions: known, and refused: a vector has the base's own number of channels."""

    model: str = Field(min_length=1, max_length=200)
    input: str | list[str]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Unsupported = None
    user: str | None = Field(default=None, max_length=500)

    def texts(self, bounds: Bounds) -> tuple[str, ...]:
        """What is asked for. Raises BadRequest."""
        refuse_unsupported(self, {"dimensions": ()})
        return read_inputs(self.input, bounds)


class FeedbackBody(Body):
    """POST /v1/feedback: what a person says of an answer. `id`: the answer's."""

    id: str = Field(min_length=1, max_length=100)
    thumb: Literal[1, -1] | None = None
    rating: int | None = Field(default=None, ge=1, le=5)
    correction: str | None = Field(default=None, min_length=1, max_length=100_000)
    comment: str | None = Field(default=None, min_length=1, max_length=10_000)


def _schema(response_format: dict[str, Any] | None) -> Any:
    """What an answer must be: None is free, {} any JSON object."""
    if response_format is None or response_format == {"type": "text"}:
        return None
    if response_format == {"type": "json_object"}:
        return {}
    inside = response_format.get("json_schema")
    if response_format.get("type") == "json_schema" and isinstance(inside, dict):
        unknown = set(inside) - {"name", "schema", "strict", "description"}
        if not unknown and isinstance(inside.get("schema"), dict):
            return check_schema(inside["schema"], "response_format")
    raise BadRequest(
        'response_format: expected {"type": "text"}, {"type": "json_object"} or {"type": "json_schema", '
        '"json_schema": {"name": ..., "schema": {...}}}',
        "response_format",
    )
