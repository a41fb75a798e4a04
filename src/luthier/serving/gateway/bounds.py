"""How much a client may send and how long everything may take. Knows nothing of what is sent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """Sizes in bytes, times in seconds.

    header_seconds: until a request's headers are there; body_seconds: until its body is; write_seconds: how long a
    reader may leave what is written to it unread; keep_alive_seconds: an idle connection.
    """

    max_header_bytes: int = 32 * 1024
    max_body_bytes: int = 8 * 1024 * 1024
    max_messages: int = 1000
    max_tools: int = 128
    max_inputs: int = 256
    max_stops: int = 16
    max_stop_characters: int = 200
    max_connections: int = 1000
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    write_seconds: float = 30.0
    keep_alive_seconds: int = 30
    grace_seconds: int = 20
