"""Events as Ollama's clients read them: one JSON object a line."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from luthier.serving.gateway.answering import ndjson
from luthier.serving.gateway.errors import Problem, to_json
from luthier.serving.gateway.openai_answers import luthier_field
from luthier.serving.protocol import Chosen, Delta, Finished

_REASONS = {"tool_calls": "stop", "content_filter": "stop"}  # Ollama knows stop and length


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class _Writer:
    """Lines of one answer. A subclass says how its text is shown."""

    media_type = "application/x-ndjson"

    def __init__(self, id: str, model: str) -> None:
        self._id, self._model = id, model
        self._started = time.perf_counter_ns()
        self._first_token_ns: int | None = None

    def start(self, chosen: Chosen) -> Iterable[bytes]:
        self._chosen = chosen
        return ()

    def part(self, event: Delta | Finished) -> Iterable[bytes]:
        if self._first_token_ns is None:
            self._first_token_ns = time.perf_counter_ns()
        if isinstance(event, Finished):
            yield ndjson(self._line(self._shown([]), done=True) | self._end(event))
        else:
            shown = self._shown([event])
            if event.text or event.reasoning or event.tool_calls:
                yield ndjson(self._line(shown, done=False))

    def end(self) -> Iterable[bytes]:
        return ()

    def broken(self, problem: Problem) -> Iterable[bytes]:
        yield ndjson(problem.body("/api/"))

    def whole(self, chosen: Chosen, events: list[Delta | Finished]) -> bytes:
        self._chosen = chosen
        (end,) = [event for event in events if isinstance(event, Finished)]
        deltas = [event for event in events if isinstance(event, Delta)]
        return to_json(self._line(self._shown(deltas), done=True) | self._end(end))

    def _shown(self, deltas: list[Delta]) -> dict[str, Any]:
        raise NotImplementedError

    def _line(self, shown: dict[str, Any], *, done: bool) -> dict[str, Any]:
        return {"model": self._model, "created_at": now(), **shown, "done": done}

    def _end(self, end: Finished) -> dict[str, Any]:
        last = time.perf_counter_ns()
        first = self._first_token_ns or last
        return {
            "done_reason": _REASONS.get(end.reason, end.reason),
            "total_duration": last - self._started,
            "load_duration": 0,
            "prompt_eval_count": end.usage.num_prompt,
            "prompt_eval_duration": first - self._started,
            "eval_count": end.usage.num_generated,
            "eval_duration": last - first,
            "luthier": luthier_field(self._chosen, [end]) | {"id": self._id},
        }


class ChatWriter(_Writer):
    """/api/chat."""

    def _shown(self, deltas: list[Delta]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(one.text for one in deltas)}
        if reasoning := "".join(one.reasoning for one in deltas):
            message["thinking"] = reasoning
        if calls := [call for one in deltas for call in one.tool_calls]:
            message["tool_calls"] = [
                {"function": {"name": call.name, "arguments": dict(call.arguments)}} for call in calls
            ]
        return {"message": message}


class GenerateWriter(_Writer):
    """/api/generate."""

    def _shown(self, deltas: list[Delta]) -> dict[str, Any]:
        shown = {"response": "".join(one.text for one in deltas)}
        if reasoning := "".join(one.reasoning for one in deltas):
            shown["thinking"] = reasoning
        return shown
