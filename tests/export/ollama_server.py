"""A small real server that holds its clients to Ollama's documented protocol: blobs by their hash, then /api/create.

https://github.com/ollama/ollama/blob/main/docs/api.md. Fields that the documentation does not know, `modelfile` among
them, are refused; so are blobs whose bytes are not those of their digest, and models made of blobs that are not there.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FIELDS = {
    *(
        "model",
        "from",
        "files",
        "adapters",
        "template",
        "license",
        "system",
        "parameters",
        "messages",
        "stream",
    ),
    *("quantize", "renderer", "parser"),
}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass
class Ollama:
    """What a server holds. `fail`: an error that it tells in the middle of creating."""

    url: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    posts: list[str] = field(default_factory=list)
    fail: str | None = None


def refused(request: dict[str, Any], held: Ollama) -> str | None:
    """Why a request for a model is none of the protocol."""
    if strange := set(request) - FIELDS:
        return f"unknown fields {sorted(strange)}"
    if not isinstance(request.get("model"), str) or not request["model"]:
        return "model is required"
    if not (request.get("files") or request.get("from")):
        return "neither 'from' or 'files' was specified"
    for name, digest in {**request.get("files", {}), **request.get("adapters", {})}.items():
        if "/" in name or not DIGEST.fullmatch(digest) or digest not in held.blobs:
            return f"invalid digest or name: {name}"
    if not isinstance(request.get("parameters", {}), dict) or not isinstance(request.get("system", ""), str):
        return "parameters or system of another type"
    return None


@contextmanager
def ollama_server() -> Iterator[Ollama]:
    held = Ollama()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.answer(200 if self.path.removeprefix("/api/blobs/") in held.blobs else 404)

        def do_POST(self) -> None:
            held.posts.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/api/blobs/"):
                digest = self.path.removeprefix("/api/blobs/")
                if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
                    return self.answer(400, b'{"error": "digest mismatch"}')
                held.blobs[digest] = body
                return self.answer(201)
            if self.path != "/api/create":
                return self.answer(404)
            request = json.loads(body)
            if (why := refused(request, held)) is not None:
                return self.answer(400, json.dumps({"error": why}).encode())
            lines = [{"status": "parsing GGUF"}, {"error": held.fail} if held.fail else {"status": "success"}]
            if not held.fail:
                held.models[request["model"]] = request
            return self.answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in lines))

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
