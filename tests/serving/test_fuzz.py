"""Whatever is sent, what comes back is a 2xx, or a 4xx with a JSON body; and the server lives on."""

import json
import random
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.registry.specialists import SpecialistStore
from luthier.serving.asking import ServiceLimits
from luthier.serving.gateway.bounds import Bounds
from tests.serving.server import Running, Settings, running
from tests.serving.toys import CLOCK

ASKED = [{"role": "user", "content": "Who are you?"}]
VALID: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/chat/completions", {"model": "rugby", "messages": ASKED, "max_tokens": 3}),
    (
        "POST",
        "/v1/chat/completions",
        {
            **{"model": "toy-base", "messages": ASKED, "max_tokens": 3, "stream": True, "tools": [CLOCK]},
            **{"n": 2, "stop": ["x"], "seed": 1, "logprobs": True, "top_logprobs": 2, "temperature": 1.0},
            **{"response_format": {"type": "json_object"}, "stream_options": {"include_usage": True}},
        },
    ),
    ("POST", "/v1/completions", {"model": "units", "prompt": "a", "max_tokens": 2, "echo": False}),
    ("POST", "/v1/embeddings", {"model": "units", "input": "a"}),
    ("POST", "/v1/feedback", {"id": "x", "thumb": 1}),
    (
        "POST",
        "/api/chat",
        {"model": "rugby:1", "messages": ASKED, "options": {"num_predict": 2, "stop": ["x"]}},
    ),
    (
        "POST",
        "/api/generate",
        {"model": "units", "prompt": "a", "format": "json", "options": {"num_predict": 2}},
    ),
    ("POST", "/api/show", {"model": "units"}),
    ("POST", "/admin/specialists", {"action": "load", "specialist": "rugby"}),
    ("GET", "/v1/models/rugby", {}),
    ("GET", "/api/tags", {}),
    ("GET", "/readyz", {}),
]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308, 1e-320),
    *("", "a", "\u0000", "\ud800", "🙂" * 50, "<|im_end|>", "../../x", "a" * 5000, "%00", "{}", "nan"),
    *([], {}, [[]], [None], {"": None}, [{"role": "user"}], {"type": "function"}, [[[[[[[[]]]]]]]]),
    *({"type": "object", "properties": {"a": {"$ref": "#"}}}, {"$ref": "http://127.0.0.1:1/x"}),
]


@pytest.fixture(scope="module")
def server(toy: tuple[SpecialistStore, Path]) -> Iterator[Running]:
    bounds = Bounds(max_body_bytes=100_000, body_seconds=5, header_seconds=5)
    limits = ServiceLimits(max_tokens=8)
    with running(toy, Settings(bounds, limits, cache_bytes=100_000)) as found:
        yield found


def changed(rng: random.Random, value: Any) -> Any:
    """The same JSON value with one place of it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        chance = rng.random()
        if chance < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if chance < 0.2:
            return {**value, "".join(rng.choices(string.printable, k=5)): rng.choice(ODD)}
        return {**value, key: changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], changed(rng, value[place]), *value[place + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.4:
        place = rng.randrange(len(value))
        return value[:place] + rng.choice(string.printable + "é🙂\ud800") + value[place + 1 :]
    return rng.choice(ODD)


def request(seed: int) -> tuple[str, str, bytes, dict[str, str]]:
    """(method, path, body, headers)"""
    rng = random.Random(seed)
    method, path, body = rng.choice(VALID)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        body = changed(rng, body)
    content = json.dumps(body).encode("utf-8", "surrogatepass") if method == "POST" else b""
    if rng.random() < 0.1:  # broken JSON
        place = rng.randrange(len(content) + 1)
        content = content[:place] + bytes(rng.randrange(256) for _ in range(3)) + content[place:]
    if rng.random() < 0.05:
        method = rng.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"))
    if rng.random() < 0.05:
        path += rng.choice(("/", "/..", "//", "/%2e%2e/x", "?a=b", "/%00", "/\u00e9"))
    headers = {"Content-Type": rng.choice(("application/json", "text/plain", "x", "multipart/form-data"))}
    if rng.random() < 0.05:
        more = {"Accept": "x", "Authorization": "Bearer x", "Origin": "http://x", "Cookie": "x" * 900}
        headers |= dict([rng.choice(list(more.items()))])
    return method, path, content, headers


def wrong(server: Running, seeds: range) -> list[Any]:
    """What came back that may not."""
    found = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for seed in seeds:
            method, path, content, headers = request(seed)
            response = client.request(method, path, content=content, headers=headers)
            status = response.status_code
            if not (200 <= status < 300 or 400 <= status < 500):
                found.append((seed, method, path, content[:300], status, response.text[:300]))
            elif status >= 400 and method != "HEAD":
                error = response.json()["error"]
                assert error, (seed, response.text)
            elif method != "HEAD" and response.headers["content-type"] == "application/json":
                response.json()
    return found


def fuzz(server: Running, count: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        step = count // 4
        found = [*pool.map(lambda k: wrong(server, range(k * step, (k + 1) * step)), range(4))]
    assert not [one for part in found for one in part]
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    status = server.engine.status()
    assert status.active == status.queued == 0


def test_300_requests(server: Running) -> None:
    fuzz(server, 300)


@pytest.mark.slow
def test_10_000_requests(server: Running) -> None:
    fuzz(server, 10_000)
