"""The application: every route behind one door, every error in one form."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from luthier import __version__
from luthier.serving.gateway.admin import admin_routes
from luthier.serving.gateway.door import Door
from luthier.serving.gateway.errors import OPENAI_ERRORS, install, to_json
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.gateway.ollama import ollama_routes
from luthier.serving.gateway.openai import openai_routes
from luthier.serving.keys import KeyRing


def make_app(
    gateway: Gateway,
    *,
    hosts: Collection[str] | None,
    origins: Collection[str] = (),
    keys: KeyRing | None = None,
    log: Callable[[Scope, int, float], None] = lambda scope, status, seconds: None,
) -> ASGIApp:
    """The whole application. `hosts`, `origins`, `keys`: as the door has them; `log`: told of every response."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.service.close()

    app = FastAPI(
        title="Luthier",
        version=__version__,
        docs_url=None,  # pages that load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=OPENAI_ERRORS,
        lifespan=lifespan,
    )
    install(app)
    app.include_router(openai_routes(gateway))
    app.include_router(ollama_routes(gateway))
    if gateway.admin is not None:
        app.include_router(admin_routes(gateway, gateway.admin))
    _add_health(app, gateway)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"]
        )

    def responded(scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        gateway.service.metrics.responded(getattr(route, "path", "none"), status)
        log(scope, status, seconds)

    return Door(app, bounds=gateway.bounds, hosts=hosts, origins=origins, keys=keys, responded=responded)


def _add_health(app: FastAPI, gateway: Gateway) -> None:
    service = gateway.service

    @app.head("/", include_in_schema=False)
    @app.get("/")
    async def root() -> Response:
        """That somebody is here."""
        return _json({"luthier": __version__, "models": service.chooser.names()})

    @app.get("/healthz")
    async def healthz() -> Response:
        """The process answers."""
        return _json({"status": "ok"})

    @app.get("/readyz")
    async def readyz(http: HttpRequest) -> Response:
        """More requests are welcome: 503 while it ends or the queue is full."""
        status = service.engine.status()
        full = status.max_queue > 0 and status.queued >= status.max_queue
        word = "draining" if gateway.draining else "full" if full else "ready"
        body = {"status": word, "active": status.active, "queued": status.queued}
        return _json(body, 200 if word == "ready" else 503)

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _json(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status, media_type="application/json")
