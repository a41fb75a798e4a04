"""Events as OpenAI's clients read them: chat completions and completions, whole and in chunks."""

import base64
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from luthier.chat.messages import ToolCall
from luthier.serving.embedding import Embedded
from luthier.serving.gateway.answering import sse
from luthier.serving.gateway.errors import Problem, to_json
from luthier.serving.protocol import Chosen, Delta, Finished, Logprob, Usage

_LOWEST = -9999.0  # what OpenAI says for a token that cannot come: JSON has no infinity


def luthier_field(chosen: Chosen, ends: Sequence[Finished] = ()) -> dict[str, Any]:
    """Who answered and why, and what was noted: the field `luthier` of every body."""
    told: dict[str, Any] = {
        "specialist": chosen.specialist,
        "decision": chosen.word,
        "why": chosen.why,
    }
    if chosen.probability is not None:
        told["probability"] = chosen.probability
    if ends:
        told["from_cache"] = all(end.from_cache for end in ends)
        told["flags"] = list(dict.fromkeys(flag for end in ends for flag in end.flags))
        if sources := [dict(source) for source in ends[0].sources]:
            told["sources"] = sources
    return told


def usage_of(ends: Sequence[Finished]) -> dict[str, Any]:
    """The prompt is counted once, the answers all."""
    usages = [end.usage for end in ends] or [Usage(0, 0)]
    prompt, generated = usages[0].num_prompt, sum(usage.num_generated for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": usages[0].num_prompt_cached},
    }


class ChatWriter:
    """A chat completion."""

    media_type = "text/event-stream"

    def __init__(self, id: str, *, include_usage: bool = False, with_logprobs: bool = False) -> None:
        self._id, self._include_usage, self._with_logprobs = id, include_usage, with_logprobs
        self._created = int(time.time())
        self._began: set[int] = set()
        self._num_calls: dict[int, int] = {}
        self._ends: list[Finished] = []

    def start(self, chosen: Chosen) -> Iterable[bytes]:
        self._chosen = chosen
        return ()

    def part(self, event: Delta | Finished) -> Iterable[bytes]:
        index = event.index
        if index not in self._began:
            extra: dict[str, Any] = {} if self._began else {"luthier": luthier_field(self._chosen)}
            self._began.add(index)
            yield self._chunk(index, {"role": "assistant", "content": ""}, **extra)
        if isinstance(event, Finished):
            self._ends.append(event)
            yield self._chunk(index, {}, event.reason, luthier=luthier_field(self._chosen, [event]))
        elif delta := self._delta(event):
            yield self._chunk(index, delta, logprobs=event.logprobs)
        elif event.logprobs:
            yield self._chunk(index, {"content": ""}, logprobs=event.logprobs)

    def end(self) -> Iterable[bytes]:
        if self._include_usage:
            yield sse(self._envelope() | {"choices": [], "usage": usage_of(self._ends)})
        yield b"data: [DONE]\n\n"

    def broken(self, problem: Problem) -> Iterable[bytes]:
        yield sse(problem.body("/v1/"))

    def whole(self, chosen: Chosen, events: list[Delta | Finished]) -> bytes:
        self._chosen = chosen
        ends = [event for event in events if isinstance(event, Finished)]
        choices = [
            self._choice(end, [e for e in events if isinstance(e, Delta) and e.index == end.index])
            for end in sorted(ends, key=lambda end: end.index)
        ]
        body = self._envelope("chat.completion") | {"choices": choices, "usage": usage_of(ends)}
        return to_json(body | {"luthier": luthier_field(chosen, ends)})

    def _choice(self, end: Finished, deltas: list[Delta]) -> dict[str, Any]:
        text = "".join(delta.text for delta in deltas)
        reasoning = "".join(delta.reasoning for delta in deltas)
        calls = [call for delta in deltas for call in delta.tool_calls]
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = [_call(self._id, end.index, k, call) for k, call in enumerate(calls)]
        logprobs = [one for delta in deltas for one in delta.logprobs]
        return {
            "index": end.index,
            "message": message,
            "logprobs": {"content": list(map(_logprob, logprobs))} if self._with_logprobs else None,
            "finish_reason": end.reason,
        }

    def _delta(self, event: Delta) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if event.text:
            delta["content"] = event.text
        if event.reasoning:
            delta["reasoning_content"] = event.reasoning
        if event.tool_calls:
            first = self._num_calls.get(event.index, 0)
            self._num_calls[event.index] = first + len(event.tool_calls)
            delta["tool_calls"] = [
                {"index": first + k, **_call(self._id, event.index, first + k, call)}
                for k, call in enumerate(event.tool_calls)
            ]
        return delta

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        reason: str | None = None,
        logprobs: Sequence[Logprob] = (),
        **extra: Any,
    ) -> bytes:
        shown = {"content": list(map(_logprob, logprobs))} if logprobs else None
        choice = {"index": index, "delta": delta, "logprobs": shown, "finish_reason": reason}
        usage = {"usage": None} if self._include_usage else {}
        return sse(self._envelope() | {"choices": [choice]} | usage | extra)

    def _envelope(self, object: str = "chat.completion.chunk") -> dict[str, Any]:
        return {"id": self._id, "object": object, "created": self._created, "model": self._chosen.model}


class CompletionWriter:
    """A completion: a text that goes on."""

    media_type = "text/event-stream"

    def __init__(self, id: str, *, include_usage: bool = False, with_logprobs: bool = False) -> None:
        self._id, self._include_usage, self._with_logprobs = id, include_usage, with_logprobs
        self._created = int(time.time())
        self._lengths: dict[int, int] = {}
        self._ends: list[Finished] = []

    def start(self, chosen: Chosen) -> Iterable[bytes]:
        self._chosen = chosen
        return ()

    def part(self, event: Delta | Finished) -> Iterable[bytes]:
        first = not self._lengths and not self._ends
        if isinstance(event, Finished):
            self._ends.append(event)
            choice = self._choice(event.index, "", (), event.reason)
            yield sse(self._body([choice]) | {"luthier": luthier_field(self._chosen, [event])})
            return
        choice = self._choice(event.index, event.text, event.logprobs, None)
        extra = {"luthier": luthier_field(self._chosen)} if first else {}
        yield sse(self._body([choice]) | extra)

    def end(self) -> Iterable[bytes]:
        if self._include_usage:
            yield sse(self._body([]) | {"usage": usage_of(self._ends)})
        yield b"data: [DONE]\n\n"

    def broken(self, problem: Problem) -> Iterable[bytes]:
        yield sse(problem.body("/v1/"))

    def whole(self, chosen: Chosen, events: list[Delta | Finished]) -> bytes:
        self._chosen = chosen
        ends = sorted((e for e in events if isinstance(e, Finished)), key=lambda end: end.index)
        choices = []
        for end in ends:
            deltas = [e for e in events if isinstance(e, Delta) and e.index == end.index]
            logprobs = tuple(one for delta in deltas for one in delta.logprobs)
            text = "".join(delta.text for delta in deltas)
            choices.append(self._choice(end.index, text, logprobs, end.reason))
        body = self._body(choices) | {"usage": usage_of(ends)}
        return to_json(body | {"luthier": luthier_field(chosen, ends)})

    def _choice(
        self, index: int, text: str, logprobs: Sequence[Logprob], reason: str | None
    ) -> dict[str, Any]:
        shown = None
        if self._with_logprobs:
            start = self._lengths.get(index, 0)
            shown = _completion_logprobs(logprobs, start)
        self._lengths[index] = self._lengths.get(index, 0) + len(text)
        return {"index": index, "text": text, "logprobs": shown, "finish_reason": reason}

    def _body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._chosen.model,
            "choices": choices,
        }


def _call(id: str, index: int, number: int, call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return {
        "id": f"call_{id.removeprefix('chatcmpl-')}_{index}_{number}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _logprob(one: Logprob) -> dict[str, Any]:
    top = [_token(text, logprob) for text, logprob in one.top]
    return _token(one.text, one.logprob) | {"top_logprobs": top}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(logprob, _LOWEST), "bytes": list(text.encode("utf-8", "replace"))}


def _completion_logprobs(logprobs: Sequence[Logprob], start: int) -> dict[str, Any]:
    offsets, at = [], start
    for one in logprobs:
        offsets.append(at)
        at += len(one.text)
    return {
        "tokens": [one.text for one in logprobs],
        "token_logprobs": [max(one.logprob, _LOWEST) for one in logprobs],
        "top_logprobs": [{text: max(p, _LOWEST) for text, p in one.top} for one in logprobs],
        "text_offset": offsets,
    }


def embedding_answer(model: str, found: Embedded, *, in_base64: bool) -> dict[str, Any]:
    """The body of /v1/embeddings. in_base64: each vector as its little-endian float32 bytes."""
    rows = found.vectors_NC.astype("<f4")
    shown = [base64.b64encode(row.tobytes()).decode() if in_base64 else row.tolist() for row in rows]
    return {
        "object": "list",
        "model": model,
        "data": [{"object": "embedding", "index": i, "embedding": one} for i, one in enumerate(shown)],
        "usage": {"prompt_tokens": found.num_tokens, "total_tokens": found.num_tokens},
    }
