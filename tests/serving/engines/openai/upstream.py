"""A small real server of the completions protocol, with the faults of real ones: it hangs, drops, refuses, recovers.

What it says is a function of the token ids that it was asked to continue.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from luthier.serving.engines.openai.manner import as_text


def answer_ids(model: str, prompt_ids: Sequence[int], max_tokens: int) -> list[int]:
    """What each model says: the prompt's ids from the end, moved on by the model's own step."""
    step = len(model)
    return [
        40 + (prompt_ids[-1 - place % len(prompt_ids)] + step * place) % 400 for place in range(max_tokens)
    ]


@dataclass
class Upstream:
    """The server. mood: kind, hanging, refusing (503), busy (429), dropping (in the middle), flaky (at the start,
    once), silent (in the middle). takes_ids, adds_bos, template: what is done to prompts."""

    tokenizer: Any
    models: tuple[str, ...] = ("base", "units")
    owner: str = "somebody"
    mood: str = "kind"
    takes_ids: bool = True
    adds_bos: bool = False
    template: str = "{}"
    completions: bool = True
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    flaky_left: int = 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")),
                0,
            )
            body = json.loads(await reader.readexactly(length)) if length else {}
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self._answer(head.split()[1], body, writer)
            finally:
                self.running -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if self.mood == "hanging":
            await self.release.wait()
        if self.mood == "refusing":
            return self._whole(writer, 503, {"error": "loading"})
        if path.endswith("/models"):
            listed = [{"id": m, "object": "model", "created": 0, "owned_by": self.owner} for m in self.models]
            return self._whole(writer, 200, {"object": "list", "data": listed})
        if not self.completions:
            return self._whole(writer, 404, {"error": "no such path"})
        self.asked.append(body)
        ids = body["prompt"]
        if isinstance(ids, str):
            ids = self.tokenizer.encode(self.template.format(ids), add_special_tokens=False)
            ids = [self.tokenizer.bos_token_id, *ids] if self.adds_bos else ids
        elif not self.takes_ids:
            return self._whole(writer, 422, {"error": "prompt: expected a text"})
        if self.mood == "busy":
            return self._whole(writer, 429, {"error": "full"}, "Retry-After: 7\r\n")
        said = answer_ids(body["model"], ids, body["max_tokens"])
        if body.get("stream"):
            return await self._stream(writer, said, body)
        usage = {
            "prompt_tokens": len(ids),
            "completion_tokens": len(said),
            "total_tokens": len(ids) + len(said),
        }
        text = as_text(self.tokenizer, said)
        self._whole(writer, 200, {**_chunk(text, "length"), "usage": usage})

    async def _stream(self, writer: asyncio.StreamWriter, said: list[int], body: dict[str, Any]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        if self.mood == "flaky" and self.flaky_left:
            self.flaky_left -= 1
            return
        for place, token in enumerate(said):
            if place == 2 and self.mood in ("dropping", "silent"):
                if self.mood == "silent":
                    await self.release.wait()
                return
            text = as_text(self.tokenizer, [token])
            chunk = _chunk(text, "length" if place == len(said) - 1 else None)
            if body.get("logprobs") is not None:
                chunk["choices"][0]["logprobs"] = {
                    "tokens": [text],
                    "token_logprobs": [-0.5],
                    "top_logprobs": [{text: -0.5, " the": -1.5}],
                    "text_offset": [0],
                }
            writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"data: [DONE]\n\n")

    def _whole(self, writer: asyncio.StreamWriter, status: int, body: dict[str, Any], more: str = "") -> None:
        data = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{more}"
        )
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + data)


def _chunk(text: str, reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    return {"id": "x", "object": "text_completion", "created": 0, "model": "base", "choices": [choice]}


@asynccontextmanager
async def running(upstream: Upstream, port: int = 0) -> AsyncIterator[Upstream]:
    """The server at work; it lets go of what hangs at the end."""
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", port)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        upstream.release.set()
        server.close()
        await asyncio.sleep(0.01)
