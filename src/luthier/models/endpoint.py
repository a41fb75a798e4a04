"""A model behind a URL that speaks the OpenAI chat protocol: vLLM, llama-server, Ollama, a cloud.

The `openai` client carries the requests: it retries what is worth retrying (no connection, 408, 409, 429, 5xx) with
growing pauses and waits as long as a server asks for. This file knows nothing of what is asked and of what an answer is
worth.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from luthier.chat.messages import Message
from luthier.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers, and how patiently it is asked.

    url: of the API, `http://localhost:8000/v1`. api_key_variable: the environment variable that holds the key; without
    one, none is sent, so that a key never travels to a server that it is not for. timeout_seconds: for one attempt;
    max_retries: further attempts.
    """

    url: str
    model: str
    api_key_variable: str | None = None
    timeout_seconds: float = 60.0
    max_retries: int = 3
    max_concurrency: int = 4

    @property
    def name(self) -> str:
        """How it is called in tables; `parse_endpoint` reads it back."""
        return f"{self.url}#{self.model}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `finish_reason` is the server's word: stop, length, tool_calls, content_filter.

    The numbers of tokens are the server's, None where it does not say. `seconds` is the wall time of the request,
    retries and their pauses included.
    """

    text: str
    finish_reason: str
    num_prompt_tokens: int | None
    num_tokens: int | None
    seconds: float


def is_endpoint(ref: str) -> bool:
    """Whether a model is named by a URL."""
    return ref.startswith(("http://", "https://"))


def parse_endpoint(ref: str, **settings: Any) -> Endpoint:
    """`URL#MODEL` as an endpoint; `settings` are further fields of it. Raises ConfigError."""
    url, _, model = ref.partition("#")
    parts = urlsplit(url)
    if not is_endpoint(ref) or not parts.netloc or not model:
        raise ConfigError(
            f"{ref}: expected the URL of an OpenAI-compatible API and the model's name there, such as "
            "http://localhost:8000/v1#my-model"
        )
    if parts.username or parts.password:
        raise ConfigError(
            "a URL with a password in it would be kept in every result: put the key into an environment variable "
            "and name that"
        )
    return Endpoint(url.rstrip("/"), model, **settings)


class ChatClient:
    """Asks one endpoint. Safe to use from several threads; close it, or use it in a `with` statement."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises ConfigError where the key's variable is not set."""
        from openai import OpenAI

        self.endpoint = endpoint
        self._client = OpenAI(
            base_url=endpoint.url,
            api_key=api_key(endpoint),
            timeout=endpoint.timeout_seconds,
            max_retries=endpoint.max_retries,
        )

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ask(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Reply:
        """One answer. Raises ModelError that names the endpoint: unreachable, hanging, refusing, not understood."""
        optional: dict[str, Any] = {"seed": seed, "response_format": response_format}
        started = time.perf_counter()
        with _told(self.endpoint):
            answer = self._client.chat.completions.create(
                model=self.endpoint.model,
                messages=[message.to_dict() for message in messages],  # type: ignore[misc]
                max_tokens=max_tokens,
                temperature=temperature,
                **{key: value for key, value in optional.items() if value is not None},
            )
        return _reply(self.endpoint, answer, time.perf_counter() - started)

    def ask_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        on_reply: Callable[[int, Reply], None] | None = None,
        **settings: Any,
    ) -> list[Reply]:
        """One answer to each, in order, `max_concurrency` of them at once; `on_reply` hears (place, reply) in order.

        Raises the first error; what was not asked by then is not asked any more.
        """
        workers = max(1, min(self.endpoint.max_concurrency, len(conversations)))
        replies = []
        with ThreadPoolExecutor(workers) as pool:
            asked = [pool.submit(self.ask, one, max_tokens=max_tokens, **settings) for one in conversations]
            try:
                for place, future in enumerate(asked):
                    replies.append(future.result())
                    if on_reply is not None:
                        on_reply(place, replies[-1])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return replies


def api_key(endpoint: Endpoint) -> str:
    """The key that is sent. Raises ConfigError where its variable is not set."""
    if endpoint.api_key_variable is None:
        return "none"  # local servers want none, and the client wants one
    key = os.environ.get(endpoint.api_key_variable)
    if not key:
        raise ConfigError(
            f"the key for {endpoint.url} is to come from the environment variable {endpoint.api_key_variable}, which "
            "is not set"
        )
    return key


@contextmanager
def _told(endpoint: Endpoint) -> Iterator[None]:
    """The client's errors as ours, with what to do. None of them holds the key."""
    import openai

    attempts = f"{endpoint.max_retries + 1} attempts" if endpoint.max_retries else "1 attempt"
    try:
        yield
    except openai.APITimeoutError as error:
        raise ModelError(
            f"{endpoint.name}: no answer within {endpoint.timeout_seconds:g} s ({attempts}); is the server busy or "
            "hanging? Allow more time, or ask less at once"
        ) from error
    except openai.APIConnectionError as error:
        reason = error.__cause__ or error
        raise ModelError(
            f"{endpoint.name}: cannot connect ({attempts}): {reason}; is the server running at this address?"
        ) from error
    except openai.APIStatusError as error:
        raise ModelError(
            f"{endpoint.name}: the server refused with status {error.status_code}: {_said(error)}"
        ) from error
    except (openai.APIError, ValueError) as error:
        raise ModelError(f"{endpoint.name}: the answer is not of the OpenAI protocol: {error}") from error


def _said(error: openai.APIStatusError) -> str:
    text = " ".join(error.response.text.split())
    return text[:300] or error.response.reason_phrase


def _reply(endpoint: Endpoint, answer: Any, seconds: float) -> Reply:
    try:
        choice = answer.choices[0]
        text, finish_reason = choice.message.content or "", str(choice.finish_reason or "stop")
    except (AttributeError, IndexError, TypeError) as error:
        raise ModelError(
            f"{endpoint.name}: expected an answer with choices of the OpenAI protocol, got {str(answer)[:200]!r}; "
            "does the URL end in /v1?"
        ) from error
    usage = getattr(answer, "usage", None)
    return Reply(
        text,
        finish_reason,
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        seconds,
    )
