"""OpenAI's routes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from luthier.serving.gateway.door import key_of
from luthier.serving.gateway.errors import Problem, to_json
from luthier.serving.gateway.gateway import Gateway, key_id
from luthier.serving.gateway.openai_answers import ChatWriter, CompletionWriter, embedding_answer
from luthier.serving.gateway.openai_bodies import ChatBody, CompletionBody, EmbeddingsBody, FeedbackBody
from luthier.serving.protocol import AUTO, Feedback
from luthier.serving.served import Served

_STREAMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def openai_routes(gateway: Gateway) -> APIRouter:
    """/v1/..."""
    routes = APIRouter(prefix="/v1")
    service = gateway.service

    @routes.post("/chat/completions", responses=_STREAMS)
    async def chat(body: ChatBody, http: HttpRequest) -> Response:
        """Messages to an answer."""
        write = partial(ChatWriter, include_usage=body.include_usage, with_logprobs=bool(body.logprobs))
        return gateway.respond(http, body.request, write, prefix="chatcmpl", is_stream=bool(body.stream))

    @routes.post("/completions", responses=_STREAMS)
    async def completions(body: CompletionBody, http: HttpRequest) -> Response:
        """A text to what follows it."""
        write = partial(
            CompletionWriter, include_usage=body.include_usage, with_logprobs=body.logprobs is not None
        )
        return gateway.respond(http, body.request, write, prefix="cmpl", is_stream=bool(body.stream))

    @routes.get("/models")
    async def models(http: HttpRequest) -> Response:
        """Who may be asked."""
        key = key_of(http.scope)
        names = [name for name in service.chooser.names() if key is None or _may_see(gateway, key, name)]
        return _json({"object": "list", "data": [_model(gateway, name) for name in names]})

    @routes.get("/models/{model:path}")
    async def model(model: str, http: HttpRequest) -> Response:
        """One of them."""
        key = key_of(http.scope)
        shown = _model(gateway, model)
        if key is not None and not _may_see(gateway, key, model):
            raise service.chooser.roster.unknown(model, ())
        return _json(shown)

    @routes.post("/embeddings")
    async def embeddings(body: EmbeddingsBody, http: HttpRequest) -> Response:
        """Texts to vectors, where the engine can."""
        found = await service.embed(body.model, body.texts(gateway.bounds), gateway.admitted_key(http))
        return _json(embedding_answer(body.model, found, in_base64=body.encoding_format == "base64"))

    @routes.post("/feedback")
    async def feedback(body: FeedbackBody, http: HttpRequest) -> Response:
        """What a person says of an answer."""
        if service.recorder is None:
            return Problem(404, "answers are not recorded here", "not_recorded").response(http.url.path)
        if (body.thumb, body.rating, body.correction) == (None, None, None):
            return Problem(400, "expected thumb, rating or correction", "missing_parameter").response("/v1/")
        said = Feedback(
            body.id,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            body.thumb,
            body.rating,
            body.correction,
            body.comment,
            key_id(http),
        )
        if not await service.feedback(said):
            return Problem(404, f"no answer has the id {body.id!r}", "not_found", "id").response("/v1/")
        return _json({"object": "feedback", "id": body.id, "kept": True})

    return routes


def _may_see(gateway: Gateway, key: Any, name: str) -> bool:
    if name == AUTO:
        return True
    return bool(key.may_ask(gateway.service.chooser.find(name).ref))


def _model(gateway: Gateway, name: str) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "luthier"}
    if name == AUTO and gateway.service.chooser.router is not None:
        return shown | {"luthier": {"form": "router"}}
    served = gateway.service.chooser.find(name)
    return shown | {"created": served.created, "luthier": about(gateway, served)}


def about(gateway: Gateway, served: Served) -> dict[str, Any]:
    """What is told of a version."""
    return {
        "specialist": served.ref,
        "id": served.content_id,
        "base": gateway.service.chooser.roster.base.model,
        "certificate": served.certificate,
        "context_length": gateway.service.engine.context_length,
        **dict(served.details),
    }


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
