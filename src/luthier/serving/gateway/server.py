"""The application on a port, until it is told to end: then what runs may end within the grace, and the rest is cut."""

import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from luthier.errors import ServingError
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.connection import bounded_protocol
from luthier.serving.gateway.gateway import Gateway


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, *, has_keys: bool) -> None:
    """Raises ServingError where everybody who can reach this machine could ask."""
    if not is_loopback(host) and not has_keys:
        raise ServingError(
            f"--host {host}: everybody who can reach this machine could ask. Make a key (luthier keys new NAME) and "
            "start with --keys FILE, or listen on 127.0.0.1"
        )


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises ServingError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends each part at once where the protocol is named; else it waits for the receipt of the last (40 ms).
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
    return found


class Server(uvicorn.Server):
    """uvicorn's, which says that it ends before it waits for what runs."""

    def __init__(
        self,
        app: ASGIApp,
        gateway: Gateway,
        *,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        bounds: Bounds = gateway.bounds
        config = uvicorn.Config(
            app,
            http=bounded_protocol(bounds),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=bounds.max_header_bytes,
            timeout_keep_alive=bounds.keep_alive_seconds,
            timeout_graceful_shutdown=bounds.grace_seconds,
        )
        super().__init__(config)
        self._gateway, self._tell_started = gateway, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.draining = True
        await super().shutdown(sockets)
