"""The admin's routes: what is served, changed while it runs. Needs a key with `admin` where keys are on."""

from typing import Any

from fastapi import APIRouter, Body
from fastapi import Request as HttpRequest
from starlette.responses import Response

from luthier.serving.admin import Admin
from luthier.serving.gateway.door import key_of
from luthier.serving.gateway.errors import to_json
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.refusals import NotAllowed


def admin_routes(gateway: Gateway, admin: Admin) -> APIRouter:
    """/admin/..."""
    routes = APIRouter(prefix="/admin")

    def check(http: HttpRequest) -> None:
        key = key_of(http.scope)
        if key is not None and not key.admin:
            raise NotAllowed(f"the key {key.name!r} is no admin's: luthier keys new NAME --admin")

    @routes.get("/specialists")
    async def state(http: HttpRequest) -> Response:
        """What is mounted, and the plan of each name."""
        check(http)
        return _json(admin.state())

    @routes.post("/specialists")
    async def act(http: HttpRequest, body: dict[str, Any] = Body()) -> Response:  # noqa: B008
        """One change: load, unload, switch, rollback, split, canary, shadow, end_shadow."""
        check(http)
        told = await admin.act(body)
        gateway.service.asker.cache.clear()
        return _json(told)

    return routes


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
