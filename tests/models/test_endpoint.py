"""A model behind a URL, asked over real HTTP."""

import itertools
import threading
import time
from dataclasses import replace

import pytest

from luthier.chat.messages import Message
from luthier.errors import ConfigError, ModelError
from luthier.models.endpoint import ChatClient, Endpoint, parse_endpoint
from tests.models.chat_server import Raw, Request, chat_server, completion

ASK = [Message("system", "Be brief."), Message("user", "How wide?")]


def endpoint(url: str) -> Endpoint:
    return Endpoint(url, "served", timeout_seconds=5, max_retries=0)


def test_asks_what_it_is_told_and_reads_the_answer() -> None:
    with chat_server(lambda request: "68 metres") as (url, seen), ChatClient(endpoint(url)) as client:
        reply = client.ask(ASK, max_tokens=9, seed=3, response_format={"type": "json_object"})
    assert (reply.text, reply.finish_reason, reply.num_prompt_tokens, reply.num_tokens) == (
        *("68 metres", "stop", 7, 3),
    )
    assert reply.seconds > 0
    (request,) = seen
    assert request["path"] == "/v1/chat/completions" and request["model"] == "served"
    assert request["messages"] == [message.to_dict() for message in ASK]
    assert (request["max_tokens"], request["temperature"], request["seed"]) == (9, 0.0, 3)
    assert request["response_format"] == {"type": "json_object"}


def test_an_answer_without_usage_has_no_numbers() -> None:
    with chat_server(lambda _: completion("x", usage=False)) as (url, _), ChatClient(endpoint(url)) as client:
        reply = client.ask(ASK, max_tokens=1)
    assert reply.num_tokens is None and reply.num_prompt_tokens is None


def test_the_key_goes_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-somebody-else")
    monkeypatch.setenv("SERVED_KEY", "sk-served")
    with chat_server(lambda _: "x") as (url, seen):
        with ChatClient(endpoint(url)) as client:
            client.ask(ASK, max_tokens=1)
        with ChatClient(replace(endpoint(url), api_key_variable="SERVED_KEY")) as client:
            client.ask(ASK, max_tokens=1)
    assert "somebody" not in seen[0]["authorization"]
    assert seen[1]["authorization"] == "Bearer sk-served"
    with pytest.raises(ConfigError, match="NO_SUCH_KEY, which is not set"):
        ChatClient(replace(endpoint(url), api_key_variable="NO_SUCH_KEY"))


def test_many_are_asked_at_once_and_answered_in_order() -> None:
    running, most = itertools.count(), []
    lock, alive = threading.Lock(), [0]

    def answer(request: Request) -> str:
        next(running)
        with lock:
            alive[0] += 1
            most.append(alive[0])
        time.sleep(0.05)
        with lock:
            alive[0] -= 1
        return str(request["messages"][0]["content"])

    questions = [[Message("user", str(i))] for i in range(12)]
    heard: list[int] = []
    with chat_server(answer) as (url, _), ChatClient(endpoint(url)) as client:
        replies = client.ask_many(questions, max_tokens=4, on_reply=lambda place, _: heard.append(place))
    assert [reply.text for reply in replies] == [str(i) for i in range(12)]
    assert heard == list(range(12)) and 1 < max(most) <= 4


def test_a_busy_server_is_asked_again() -> None:
    turns = iter([(429, {"Retry-After": "0"}, b"{}"), (503, {"Retry-After": "0"}, b"{}"), "now"])
    with (
        chat_server(lambda _: next(turns)) as (url, seen),
        ChatClient(replace(endpoint(url), max_retries=2)) as client,
    ):
        assert client.ask(ASK, max_tokens=1).text == "now"
    assert len(seen) == 3


def answered(status: int, body: bytes, kind: str = "application/json") -> Raw:
    return status, {"Content-Type": kind}, body


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (answered(400, b'{"error": {"message": "no such model"}}'), "status 400: .*no such model"),
        (answered(500, b"oh"), "status 500: oh"),
        (answered(200, b"{broken"), "not of the OpenAI protocol"),
        (answered(200, b'{"hello": 1}'), "expected an answer with choices"),
        (answered(200, b'{"choices": []}'), "expected an answer with choices"),
        (answered(200, b"<html>", "text/html"), "expected an answer with choices.*end in /v1"),
    ],
)
def test_what_is_no_answer_is_an_error_with_the_endpoint(answer: Raw, problem: str) -> None:
    with (
        chat_server(lambda _: answer) as (url, _),
        ChatClient(endpoint(url)) as client,
        pytest.raises(ModelError, match=problem) as caught,
    ):
        client.ask(ASK, max_tokens=1)
    assert f"{url}#served" in str(caught.value)


def test_a_server_that_hangs_and_one_that_is_not_there() -> None:
    with (
        chat_server(lambda _: time.sleep(1.5) or "late") as (url, _),
        ChatClient(replace(endpoint(url), timeout_seconds=0.2)) as client,
        pytest.raises(ModelError, match=r"no answer within 0\.2 s \(1 attempt\)"),
    ):
        client.ask(ASK, max_tokens=1)
    with ChatClient(endpoint(url)) as client, pytest.raises(ModelError, match="cannot connect"):
        client.ask(ASK, max_tokens=1)


def test_the_first_error_ends_many() -> None:
    with (
        chat_server(lambda _: answered(400, b"no")) as (url, seen),
        ChatClient(endpoint(url)) as client,
        pytest.raises(ModelError, match="status 400"),
    ):
        client.ask_many([ASK] * 200, max_tokens=1)
    assert len(seen) < 100


@pytest.mark.parametrize("ref", ["http://host/v1", "http:///v1#m", "host/v1#m", "http://host/v1#"])
def test_what_is_no_endpoint(ref: str) -> None:
    with pytest.raises(ConfigError, match="expected the URL of an OpenAI-compatible API"):
        parse_endpoint(ref)


def test_endpoints_are_named_by_url_and_model() -> None:
    found = parse_endpoint("http://host:1/v1/#org/model", timeout_seconds=3)
    assert (found.url, found.model, found.timeout_seconds) == ("http://host:1/v1", "org/model", 3)
    assert parse_endpoint(found.name) == replace(found, timeout_seconds=60.0)
    with pytest.raises(ConfigError, match="a URL with a password"):
        parse_endpoint("http://me:secret@host/v1#m")
