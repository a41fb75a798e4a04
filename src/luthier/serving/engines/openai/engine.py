"""The engine that asks an upstream: the specialist's tokens go out, what comes back streams on.

The `openai` client retries what is worth retrying before an answer begins (no connection, 408, 409, 429, 5xx). A
background probe knows whether the upstream is there, so that nobody waits for one that is not. Knows nothing of how the
upstream computes.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from luthier.errors import ServingError
from luthier.models.endpoint import Endpoint, api_key
from luthier.serving.engines.checks import not_mounted
from luthier.serving.engines.engine import Ask, Engine, EngineStatus, Mounted, Overloaded, Piece, Unavailable
from luthier.serving.engines.openai.manner import Manner, as_text, find_manner
from luthier.serving.engines.openai.reading import Reader

if TYPE_CHECKING:
    import openai

_log = logging.getLogger(__name__)
_COUNTERS = ("answers", "cancelled", "failed", "generated_pieces", "prompt_tokens", "outages")


async def open_openai_engine(
    endpoint: Endpoint,
    tokenizer: Any,
    *,
    context_length: int,
    max_queue: int = 256,
    probe_seconds: float = 5.0,
) -> Engine:
    """Find out how `endpoint` wants to be asked, and make it ready; specialists are mounted by their names there.

    tokenizer: the base's, as transformers loads it. endpoint: its max_concurrency answers run at once, timeout_seconds
    is the longest silence, max_retries further attempts are made. probe_seconds: between two looks at its health.
    Raises Unavailable where it cannot be reached, ServingError where it cannot continue a prompt as it stands.
    """
    from openai import AsyncOpenAI, Timeout

    client = AsyncOpenAI(
        base_url=endpoint.url,
        api_key=api_key(endpoint),
        timeout=Timeout(endpoint.timeout_seconds, connect=min(5.0, endpoint.timeout_seconds)),
        max_retries=endpoint.max_retries,
    )
    try:
        manner = await find_manner(client, endpoint.model, tokenizer)
    except BaseException:
        await client.close()
        raise
    _log.info("%s is asked with %s", endpoint.url, manner.describe())
    return OpenAIEngine(endpoint, tokenizer, client, manner, context_length, max_queue, probe_seconds)


class OpenAIEngine:
    """An upstream of the OpenAI protocol."""

    name = "openai"

    def __init__(
        self,
        endpoint: Endpoint,
        tokenizer: Any,
        client: openai.AsyncOpenAI,
        manner: Manner,
        context_length: int,
        max_queue: int,
        probe_seconds: float,
    ) -> None:
        self.manner = manner
        self._endpoint, self._tokenizer, self._client = endpoint, tokenizer, client
        self._context_length, self._max_queue, self._probe_seconds = context_length, max_queue, probe_seconds
        self._models: dict[str | None, str] = {None: endpoint.model}
        self._asks: Counter[str | None] = Counter()
        self._idle = asyncio.Condition()
        self._reader = Reader(tokenizer)
        self._slots = asyncio.Semaphore(endpoint.max_concurrency)
        self._active = self._queued = 0
        self._counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))
        self._down: str | None = None
        self._closed = False
        self._look = asyncio.Event()
        self._probe = asyncio.create_task(self._watch())

    @property
    def context_length(self) -> int:
        return self._context_length

    async def mount(self, specialist: Mounted) -> None:
        """See Engine.mount. Raises ServingError for a name that the upstream does not list."""
        model = self._endpoint.model if specialist.adapter is None else str(specialist.adapter)
        known = self.manner.models
        if known and not {model, f"{model}:latest"} & set(known):
            raise ServingError(
                f"{specialist.name}: the upstream has no model {model!r}; it has {', '.join(known)}. vLLM: start it "
                f"with --enable-lora --lora-modules {model}=FOLDER"
            )
        if specialist.name in self._models:
            raise ServingError(f"{specialist.name} is mounted already; unmount it first")
        self._models[specialist.name] = model

    async def unmount(self, name: str) -> None:
        """See Engine.unmount. No new answer begins from now on. Raises ServingError for an unknown name."""
        if self._models.pop(name, None) is None:
            raise not_mounted(name, filter(None, self._models))
        async with self._idle:
            await self._idle.wait_for(lambda: not self._asks[name])

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        """See Engine.answer. An upstream that breaks before the first piece is asked again, afterwards not."""
        request = self._request(ask)
        if self._slots.locked() and self._queued >= self._max_queue:
            raise Overloaded(f"{self._queued} questions wait already; ask again in 1 s")
        finished = False
        self._asks[ask.specialist] += 1
        try:
            async with self._slot():
                self._counters["prompt_tokens"] += len(ask.prompt_ids)
                async for piece in self._pieces(request):
                    self._counters["generated_pieces"] += 1
                    finished = piece.finish_reason is not None
                    yield piece
            self._counters["answers"] += 1
        except ServingError:
            self._counters["failed"] += 1
            finished = True
            raise
        finally:
            self._counters["cancelled"] += not finished
            await asyncio.shield(self._left(ask.specialist))

    def status(self) -> EngineStatus:
        """See Engine.status."""
        return EngineStatus(self._active, self._queued, self._max_queue, dict(self._counters))

    async def close(self) -> None:
        """End what runs and give everything back."""
        if not self._closed:
            self._closed = True
            self._probe.cancel()
            with suppress(asyncio.CancelledError):
                await self._probe
            await self._client.close()

    def _request(self, ask: Ask) -> dict[str, Any]:
        """What is sent. Raises ServingError for what the upstream could not do, Unavailable where it is not there."""
        if self._closed:
            raise Unavailable("the engine is closed")
        if self._down is not None:
            raise Unavailable(self._down)
        if ask.specialist not in self._models:
            raise not_mounted(ask.specialist, filter(None, self._models))
        room = self._context_length - len(ask.prompt_ids)
        if not ask.prompt_ids or room < 1 or ask.sampling.max_new_tokens < 1:
            raise ServingError(
                f"expected a prompt of 1 to {self._context_length - 1} tokens and max_new_tokens of at least 1; got "
                f"{len(ask.prompt_ids)} and {ask.sampling.max_new_tokens}"
            )
        if ask.mask is not None:
            raise ServingError(
                "a JSON schema cannot be kept to here: an upstream chooses its tokens itself. Use the torch or the "
                "llamacpp engine"
            )
        sampling = replace(ask.sampling, max_new_tokens=min(ask.sampling.max_new_tokens, room))
        stop_texts = sorted(as_text(self._tokenizer, [token]) for token in ask.stop_ids)
        request = {
            "model": self._models[ask.specialist],
            "prompt": self.manner.prompt(self._tokenizer, ask.prompt_ids),
            **self.manner.settings(sampling, ask.stop_ids, stop_texts),
        }
        return request if ask.num_top_logprobs is None else {**request, "logprobs": ask.num_top_logprobs}

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        self._queued += 1
        try:
            await self._slots.acquire()
        finally:
            self._queued -= 1
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            self._slots.release()

    async def _left(self, name: str | None) -> None:
        async with self._idle:
            self._asks[name] -= 1
            self._idle.notify_all()

    async def _pieces(self, request: dict[str, Any]) -> AsyncIterator[Piece]:
        import openai

        http = _http()
        for attempts_left in range(self._endpoint.max_retries, -1, -1):
            begun = False
            try:
                async with await self._client.completions.create(**request, stream=True) as stream:
                    async for chunk in stream:
                        if (piece := self._reader.piece(chunk)) is not None:
                            begun = True
                            yield piece
                            if piece.finish_reason is not None:
                                return
                raise ConnectionError("the stream ended before the answer did")
            except openai.APIStatusError as error:
                raise self._refused(error) from error
            except (openai.APIConnectionError, http.TransportError, ConnectionError) as error:
                slow = isinstance(error, (openai.APITimeoutError, http.TimeoutException))
                # The client has tried again already where there was no answer at all.
                if begun or not attempts_left or isinstance(error, openai.APIConnectionError):
                    raise self._broke(error, slow) from error
            except (openai.APIError, ValueError) as error:
                raise Unavailable(
                    f"{self._endpoint.url}: the answer is not of the OpenAI protocol: {error}"
                ) from error

    def _refused(self, error: openai.APIStatusError) -> ServingError:
        said = (
            f"{self._endpoint.url}: status {error.status_code}: {' '.join(error.response.text.split())[:300]}"
        )
        if error.status_code == 429:
            return Overloaded(said, _seconds(error.response.headers.get("retry-after")))
        if error.status_code in (401, 403) or error.status_code >= 500:
            self._look.set()
            return Unavailable(said)
        return ServingError(said)

    def _broke(self, error: Exception, slow: bool) -> Unavailable:
        self._look.set()
        if slow:
            return Unavailable(f"{self._endpoint.url}: silent for {self._endpoint.timeout_seconds:g} s")
        return Unavailable(f"{self._endpoint.url}: the connection broke: {error.__cause__ or error}")

    async def _watch(self) -> None:
        """Look at the upstream's health now and then, and at once where an answer broke."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), self._probe_seconds)
            self._look.clear()
            try:
                if self._down is None:
                    await self._alive()
                else:  # it may have been started with other settings
                    self.manner = await find_manner(self._impatient(), self._endpoint.model, self._tokenizer)
                    _log.warning("%s is back, asked with %s", self._endpoint.url, self.manner.describe())
                    self._down = None
            except ServingError as error:
                if self._down is None:
                    _log.warning("%s is down: %s", self._endpoint.url, error)
                    self._counters["outages"] += 1
                self._down = str(error)

    async def _alive(self) -> None:
        """Raises Unavailable where the upstream does not answer, or answers that it cannot."""
        import openai

        try:
            await self._impatient().models.list()
        except openai.APIConnectionError as error:
            raise Unavailable(f"{self._endpoint.url}: cannot connect: {error.__cause__ or error}") from error
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                raise Unavailable(f"{self._endpoint.url}: status {error.status_code}") from error
        except (openai.APIError, ValueError) as error:
            raise Unavailable(
                f"{self._endpoint.url}: the answer is not of the OpenAI protocol: {error}"
            ) from error

    def _impatient(self) -> openai.AsyncOpenAI:
        return self._client.with_options(max_retries=0, timeout=min(5.0, self._endpoint.timeout_seconds))


def _http() -> Any:
    """The HTTP library under the client, whose errors come through in the middle of a stream: httpx, or httpx2."""
    from openai import DefaultAsyncHttpxClient

    modules = (one.__module__.partition(".")[0] for one in DefaultAsyncHttpxClient.__mro__)
    return importlib.import_module(next(name for name in modules if name.startswith("httpx")))


def _seconds(text: str | None) -> float:
    try:
        return max(1.0, float(text or 1))
    except ValueError:  # a date
        return 1.0
