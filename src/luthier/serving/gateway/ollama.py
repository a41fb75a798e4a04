"""Ollama's routes, so that what speaks Ollama (Open WebUI, editor plug-ins) can ask here."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from luthier import __version__
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.door import key_of
from luthier.serving.gateway.errors import OLLAMA_ERRORS, to_json
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.gateway.ollama_answers import ChatWriter, GenerateWriter, now
from luthier.serving.gateway.ollama_bodies import ChatBody, EmbedBody, GenerateBody, ShowBody, model_name
from luthier.serving.gateway.openai import about
from luthier.serving.protocol import AUTO, Request
from luthier.serving.served import Served

API_VERSION = "0.12.0"  # the form of Ollama's API that these routes speak
_STREAMS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": {}}}}


def ollama_routes(gateway: Gateway) -> APIRouter:
    """/api/..."""
    routes = APIRouter(prefix="/api", responses=OLLAMA_ERRORS)
    chooser = gateway.service.chooser

    def with_context(
        read: Callable[[str, Bounds, str | None, int], Request],
    ) -> Callable[[str, Bounds, str | None], Request]:
        return lambda id, bounds, key: read(id, bounds, key, gateway.service.engine.context_length)

    @routes.post("/chat", responses=_STREAMS)
    async def chat(body: ChatBody, http: HttpRequest) -> Response:
        """Messages to an answer; without messages, whether the model is there."""
        if not body.messages:
            return _loaded(gateway, body.model, {"message": {"role": "assistant", "content": ""}})
        write = partial(ChatWriter, model=body.model)
        is_stream = body.stream is not False
        return gateway.respond(http, with_context(body.request), write, prefix="chat", is_stream=is_stream)

    @routes.post("/generate", responses=_STREAMS)
    async def generate(body: GenerateBody, http: HttpRequest) -> Response:
        """A question to an answer; without one, whether the model is there."""
        if not body.prompt:
            return _loaded(gateway, body.model, {"response": ""})
        write = partial(GenerateWriter, model=body.model)
        is_stream = body.stream is not False
        return gateway.respond(http, with_context(body.request), write, prefix="gen", is_stream=is_stream)

    @routes.post("/embed")
    async def embed(body: EmbedBody, http: HttpRequest) -> Response:
        """Texts to vectors, where the engine can."""
        started = time.perf_counter_ns()
        texts = body.texts(gateway.bounds)
        found = await gateway.service.embed(model_name(body.model), texts, gateway.admitted_key(http))
        answer = {
            "model": body.model,
            "embeddings": found.vectors_NC.tolist(),
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": found.num_tokens,
        }
        return _json(answer)

    @routes.get("/tags")
    async def tags(http: HttpRequest) -> Response:
        """Who may be asked."""
        return _json({"models": [_tag(gateway, name) for name in _names(gateway, http)]})

    @routes.get("/ps")
    async def running(http: HttpRequest) -> Response:
        """The same: what is served is loaded."""
        return _json({"models": [_tag(gateway, name) for name in _names(gateway, http)]})

    @routes.post("/show")
    async def show(body: ShowBody, http: HttpRequest) -> Response:
        """What is known of one of them."""
        name = model_name(body.model or body.name)
        if name == AUTO and chooser.router is not None:
            return _json(_details(gateway, chooser.roster.base))
        served = chooser.find(name)
        key = key_of(http.scope)
        if key is not None and not key.may_ask(served.ref):
            raise chooser.roster.unknown(name, ())
        return _json(_details(gateway, served))

    @routes.get("/version")
    async def version() -> Response:
        """The form of the API; `luthier`: the version of what runs."""
        return _json({"version": API_VERSION, "luthier": __version__})

    return routes


def _names(gateway: Gateway, http: HttpRequest) -> list[str]:
    key, chooser = key_of(http.scope), gateway.service.chooser
    return [
        name for name in chooser.names() if key is None or name == AUTO or key.may_ask(chooser.find(name).ref)
    ]


def _tag(gateway: Gateway, name: str) -> dict[str, Any]:
    chooser = gateway.service.chooser
    served = chooser.roster.base if name == AUTO else chooser.find(name)
    modified = datetime.fromtimestamp(served.created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "name": f"{name}:latest",
        "model": f"{name}:latest",
        "modified_at": modified,
        "size": served.num_bytes,
        "digest": served.content_id.removeprefix("sha256:"),
        "details": _short(gateway, served),
    }


def _short(gateway: Gateway, served: Served) -> dict[str, Any]:
    family = gateway.service.chooser.roster.base.model
    return {
        "parent_model": "" if served.ref is None else family,
        "format": str(served.details.get("form", "")),
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }


def _details(gateway: Gateway, served: Served) -> dict[str, Any]:
    sampling = served.sampling
    parameters = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repeat_penalty": sampling.repetition_penalty,
        "num_predict": sampling.max_new_tokens,
    }
    return {
        "modelfile": "",
        "license": str(served.details.get("licence") or ""),
        "parameters": "\n".join(f"{name:<24} {value}" for name, value in parameters.items()),
        "template": served.renderer.tokenizer.chat_template or "",
        "system": served.system_prompt or "",
        "details": _short(gateway, served),
        "model_info": {
            "general.architecture": "luthier",
            "luthier.context_length": gateway.service.engine.context_length,
        },
        "capabilities": ["completion", *(["tools"] if served.shows_tools else [])],
        "luthier": about(gateway, served),
    }


def _loaded(gateway: Gateway, model: str, shown: dict[str, Any]) -> Response:
    name = model_name(model)
    if name != AUTO or gateway.service.chooser.router is None:
        gateway.service.chooser.find(name)
    return _json({"model": model, "created_at": now(), **shown, "done": True, "done_reason": "load"})


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
