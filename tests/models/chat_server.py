"""A small real server of the OpenAI chat protocol: what it answers is a function of the request."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Request = dict[str, Any]
Raw = tuple[int, dict[str, str], bytes]


def completion(text: str, *, finish_reason: str = "stop", usage: bool = True) -> Raw:
    """A whole answer of the protocol."""
    body: dict[str, Any] = {
        "id": "answer",
        "object": "chat.completion",
        "created": 0,
        "model": "served",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
            }
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


@contextmanager
def chat_server(answer: Callable[[Request], str | Raw]) -> Iterator[tuple[str, list[Request]]]:
    """(URL of the API, requests as they came). `answer` gives a text, or (status, headers, body) as they are."""
    seen: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({**request, "path": self.path, "authorization": self.headers.get("Authorization")})
            found = answer(request)
            status, headers, body = completion(found) if isinstance(found, str) else found
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True  # the client lost patience

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
