"""Errors as HTTP: a status, and a body in the words of the API that was asked.

OpenAI's clients read `{"error": {"message", "type", "param", "code"}}`, Ollama's `{"error": "..."}`.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from luthier.errors import DataError, LuthierError, RegistryError, ServingError
from luthier.serving.engines.engine import Overloaded, Unavailable
from luthier.serving.refusals import NotAllowed, Refusal, TooLong, UnknownModel

_log = logging.getLogger(__name__)
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_TEXT = {"type": "string"}
_WORD = {"type": ["string", "null"]}
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": _TEXT, "type": _TEXT, "param": _WORD, "code": _WORD},
        }
    },
}
_OLLAMA_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
Responses = dict[int | str, dict[str, Any]]


def _errors(schema: Mapping[str, Any]) -> Responses:
    content = {"application/json": {"schema": dict(schema)}}
    return {
        "4XX": {"description": "It cannot be answered as it is, or not now.", "content": content},
        "5XX": {"description": "It could not be answered.", "content": content},
    }


OPENAI_ERRORS, OLLAMA_ERRORS = _errors(_OPENAI_ERROR), _errors(_OLLAMA_ERROR)
"""How the two APIs tell of errors, for the OpenAPI page."""


@dataclass(frozen=True)
class Problem:
    """What went wrong, as a client is told it. `code`: one word for programs; `param`: the part of the body meant."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, path: str) -> dict[str, Any]:
        """As the API at this path says it."""
        if path.startswith("/api/"):
            return {"error": self.message}
        type = _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": type, "param": self.param, "code": self.code}}

    def response(self, path: str) -> Response:
        """The whole response."""
        return Response(to_json(self.body(path)), self.status, dict(self.headers), "application/json")


def to_json(value: Any) -> bytes:
    """JSON that is always UTF-8: half of a surrogate pair, which may come from a client, is written escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def problem_of(error: Exception) -> Problem:
    """The problem that an error is. What is no error of this house is not told, but logged."""
    if isinstance(error, UnknownModel):
        return Problem(404, str(error), "model_not_found", error.field)
    if isinstance(error, NotAllowed):
        return Problem(403, str(error), "not_allowed", error.field)
    if isinstance(error, TooLong):
        return Problem(400, str(error), "context_length_exceeded", error.field)
    if isinstance(error, Refusal):
        return Problem(400, str(error), None, error.field)
    if isinstance(error, Overloaded):
        seconds = max(1, math.ceil(error.retry_after_seconds))
        return Problem(429, str(error), "overloaded", headers={"Retry-After": str(seconds)})
    if isinstance(error, Unavailable):
        return Problem(503, str(error), "unavailable", headers={"Retry-After": "1"})
    if isinstance(error, ServingError | DataError | RegistryError):
        return Problem(400, str(error))
    if isinstance(error, LuthierError):
        _log.error("an answer failed: %s", error)
        return Problem(500, str(error))
    _log.error("an answer failed", exc_info=error)
    return Problem(500, "something went wrong here; the server's log says what")


def install(app: FastAPI) -> None:
    """Let every error of an application leave in one of the two forms."""

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error).response(request.url.path)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = str(error.detail or HTTPStatus(error.status_code).phrase)
        if error.status_code == 404:
            message = f"there is nothing at {request.method} {request.url.path[:200]}"
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the framework knows of the first route at a path only
            headers["Allow"] = ", ".join(_methods(app, request))
            message = f"{request.method} cannot be done here; {headers['Allow']} can"
        return Problem(error.status_code, message, headers=headers).response(request.url.path)

    async def other(request: Request, error: Exception) -> Response:
        return problem_of(error).response(request.url.path)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(LuthierError, other)
    app.add_exception_handler(Exception, other)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What can be done at the path of a request."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in app.routes)
    ]


def _invalid(error: RequestValidationError) -> Problem:
    """The first thing that is wrong with a body, by the name of its field."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        why = (first.get("ctx") or {}).get("error", "")
        return Problem(400, f"the body is not JSON: {why}", "invalid_json")
    place = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "extra_forbidden":
        return Problem(400, f"{place}: this parameter is not supported here", "unsupported_parameter", place)
    if first["type"] == "missing":
        return Problem(400, f"{place or 'body'}: this is missing", "missing_parameter", place or None)
    return Problem(400, f"{place or 'body'}: {_told(first['msg'])}", "invalid_parameter", place or None)


def _told(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
