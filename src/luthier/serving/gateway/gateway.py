"""What the routes share: the service, the bounds, and the way from a body to a response."""

import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from starlette.requests import Request as HttpRequest

from luthier.serving.admin import Admin
from luthier.serving.admissions import KeyAdmissions
from luthier.serving.gateway.answering import AnswerResponse, Writer
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.door import key_of
from luthier.serving.protocol import Event, Request
from luthier.serving.service import Service


@dataclass
class Gateway:
    """One service behind its routes. `draining`: it ends, and asks to be asked no more."""

    service: Service
    bounds: Bounds = field(default_factory=Bounds)
    admin: Admin | None = None
    admissions: KeyAdmissions | None = None
    draining: bool = False

    def answer(self, request: Request) -> AsyncGenerator[Event, None]:
        """The service's events."""
        return self.service.answer(request)

    def respond(
        self,
        http: HttpRequest,
        read: Callable[[str, Bounds, str | None], Request],
        write: Callable[[str], Writer],
        *,
        prefix: str,
        is_stream: bool,
    ) -> AnswerResponse:
        """Read a body into a request, and answer it in the words of an API."""
        id = f"{prefix}-{secrets.token_hex(12)}"
        request = read(id, self.bounds, self.admitted_key(http))
        return AnswerResponse(id, self.answer(request), write(id), is_stream=is_stream)

    def admitted_key(self, http: HttpRequest) -> str | None:
        """The id of the key that came with a request, whose limits the service will ask for."""
        key = key_of(http.scope)
        if key is not None and self.admissions is not None:
            self.admissions.remember(key)
        return key.id if key else None


def key_id(http: HttpRequest) -> str | None:
    """Whose key came with a request."""
    key = key_of(http.scope)
    return key.id if key else None
