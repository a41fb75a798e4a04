"""The admin's routes: what is served, changed while it runs. Needs a key with `admin` where keys are on."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import WithJsonSchema
from starlette.responses import Response

from luthier.serving.admin import FIELDS, Admin
from luthier.serving.gateway.door import key_of
from luthier.serving.gateway.errors import to_json
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.refusals import NotAllowed

_KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "whole number": {"type": "integer"},
    "object": {"type": "object"},
    "numbers by specialist": {"type": "object", "additionalProperties": {"type": "number"}},
}


def _schema(action: str) -> dict[str, Any]:
    """The body of one action, for the OpenAPI page; the admin checks it."""
    fields = FIELDS[action]
    return {
        "type": "object",
        "title": action,
        "required": ["action", *(name for name, (_, is_needed) in fields.items() if is_needed)],
        "properties": {
            "action": {"const": action},
            **{name: _KINDS[kind] for name, (kind, _) in fields.items()},
        },
        "additionalProperties": False,
    }


Change = Annotated[dict[str, Any], WithJsonSchema({"oneOf": [_schema(action) for action in FIELDS]})]


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
    async def act(http: HttpRequest, body: Change) -> Response:
        """One change: load, unload, switch, rollback, split, canary, shadow, end_shadow."""
        check(http)
        told = await admin.act(body)
        gateway.service.asker.cache.clear()
        return _json(told)

    return routes


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
