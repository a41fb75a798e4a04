"""Log lines as JSON, one object each. What was asked and answered is not among it unless the operator says so."""

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from starlette.types import Scope

from luthier.serving.protocol import Interaction

_log = logging.getLogger("luthier.serving")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class JsonLines(logging.Formatter):
    """A record as one line. Fields come in `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to(stream: TextIO = sys.stderr) -> None:
    """Write what this package and uvicorn say to a stream, as JSON lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name in ("luthier", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log_response(scope: Scope, status: int, seconds: float) -> None:
    """One line for each response; those that machines ask for all day only where they fail."""
    if scope["path"] in _QUIET and status < 400:
        return
    client = scope.get("client") or ("", 0)
    fields = {
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "seconds": round(seconds, 4),
        "client": client[0],
    }
    _log.info("response", extra={"fields": fields})


def answer_logger(*, with_prompts: bool) -> Callable[[Interaction], None]:
    """One line for each answer; the texts only `with_prompts`."""

    def write(one: Interaction) -> None:
        fields: dict[str, Any] = {
            "id": one.id,
            "key": one.key_id,
            "model": one.model[:100],
            "specialist": one.specialist,
            "decision": (one.decision or {}).get("word"),
            "outcome": one.outcome,
            "finish": list(one.finish_reasons),
            "prompt_tokens": one.usage.num_prompt,
            "generated_tokens": one.usage.num_generated,
            "first_token_seconds": _rounded(one.first_token_seconds),
            "seconds": _rounded(one.total_seconds),
        }
        if one.shadow_of is not None:
            fields["shadow_of"] = one.shadow_of
        if with_prompts:
            fields["messages"] = [message.to_dict() for message in one.messages]
            fields |= {"prompt": one.prompt, "answers": list(one.answers)}
        _log.info("answer", extra={"fields": fields})

    return write


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
