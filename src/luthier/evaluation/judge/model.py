"""Who is asked: a model behind an OpenAI-compatible URL, or a local one through the one token path.

This file knows nothing of rubrics, verdicts and caches.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.errors import ModelError
from luthier.hashing import hash_file, hash_json
from luthier.models.endpoint import ChatClient, Endpoint, Reply

if TYPE_CHECKING:
    from luthier.models.load import LoadedModel

NO_ROOM = "no_room"
"""The `finish_reason` where a prompt fills the whole context of a local model: nothing was generated."""

_NOT_TAKEN = {400, 422, 501}  # how servers refuse a `response_format` that they do not know


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask. `seed` is None where nothing is drawn; `response_format` None where the reply is free text."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    seed: int | None
    response_format: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "messages": [message.to_dict() for message in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "response_format": self.response_format,
        }


class JudgeModel(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """How it is called in tables."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What makes it this model, as JSON values."""
        ...

    def ask_many(self, requests: Sequence[Request], on_reply: Callable[[int, Reply], None]) -> None:
        """Ask all; `on_reply` hears (place, reply) as they come, in the caller's thread. Raises ModelError."""
        ...


class EndpointModel:
    """A model behind a URL, several requests at once. Asks for typed output until the server refuses it.

    Use it in a `with` statement, which gives the connections back.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises ConfigError where the key's variable is not set."""
        self._endpoint = endpoint
        self._client = ChatClient(endpoint)
        self._takes_format = True

    def __enter__(self) -> "EndpointModel":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "endpoint", "url": self._endpoint.url, "model": self._endpoint.model}

    def ask_many(self, requests: Sequence[Request], on_reply: Callable[[int, Reply], None]) -> None:
        """The first error is raised when the requests under way have ended; what came by then was heard."""
        failure: BaseException | None = None
        with ThreadPoolExecutor(max(1, self._endpoint.max_concurrency)) as pool:
            places: dict[Future[Reply], int] = {}
            try:
                for place, request in enumerate(requests):
                    places[pool.submit(self._ask, request)] = place
                for future in as_completed(places):
                    if future.cancelled():
                        continue
                    error = future.exception()
                    if error is None:
                        on_reply(places[future], future.result())
                    elif failure is None:
                        failure = error
                        for other in places:
                            other.cancel()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if failure is not None:
            raise failure

    def _ask(self, request: Request) -> Reply:
        if request.response_format is None or not self._takes_format:
            return self._send(request, None)
        try:
            return self._send(request, request.response_format)
        except ModelError as error:
            if getattr(error.__cause__, "status_code", None) not in _NOT_TAKEN:
                raise
        reply = self._send(
            request, None
        )  # the same refusal without it was not about the format, and is raised
        self._takes_format = False
        return reply

    def _send(self, request: Request, response_format: Mapping[str, Any] | None) -> Reply:
        return self._client.ask(
            request.messages,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            response_format=response_format,
        )


class LocalModel:
    """A loaded model. It takes no `response_format`: the prompt alone says what a reply looks like."""

    def __init__(self, loaded: "LoadedModel", *, batch_size: int = 8) -> None:
        self._loaded = loaded
        self._batch_size = batch_size
        self._identity = {
            "kind": "local",
            "name": loaded.name,
            "weights": _weights_id(loaded),
            "template": loaded.renderer.template_hash,
            "dtype": str(loaded.dtype),
        }

    @property
    def name(self) -> str:
        return self._loaded.name

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._identity

    def ask_many(self, requests: Sequence[Request], on_reply: Callable[[int, Reply], None]) -> None:
        """Greedy requests go out in batches of similar length, drawn ones alone: each has a seed of its own."""
        prompts = [self._loaded.renderer.prompt(request.messages) for request in requests]
        order = sorted(range(len(requests)), key=lambda place: len(prompts[place]))
        batch: list[int] = []
        for place in order:
            if self._has_no_room(prompts[place]):
                on_reply(place, Reply("", NO_ROOM, len(prompts[place]), 0, 0.0))
                continue
            batch.append(place)
            if len(batch) == self._batch_size or requests[place].temperature > 0:
                self._answer(batch, requests, prompts, on_reply)
                batch = []
        self._answer(batch, requests, prompts, on_reply)

    def _has_no_room(self, prompt: Sequence[int]) -> bool:
        return bool(self._loaded.context_length) and len(prompt) >= self._loaded.context_length

    def _answer(
        self,
        batch: Sequence[int],
        requests: Sequence[Request],
        prompts: Sequence[Sequence[int]],
        on_reply: Callable[[int, Reply], None],
    ) -> None:
        from luthier.models.generate import Sampling, generate

        if not batch:
            return
        first = requests[batch[0]]
        sampling = Sampling(
            temperature=first.temperature,
            max_new_tokens=max(requests[place].max_tokens for place in batch),
            seed=first.seed or 0,
        )
        started = time.perf_counter()
        answers = generate(self._loaded, [prompts[place] for place in batch], sampling)
        seconds = (time.perf_counter() - started) / len(batch)
        for place, token_ids in zip(batch, answers, strict=True):
            parsed = self._loaded.renderer.parse(token_ids)
            reason = "length" if parsed.termination is Termination.LENGTH else "stop"
            on_reply(place, Reply(parsed.text, reason, len(prompts[place]), len(token_ids), seconds))


def _weights_id(loaded: "LoadedModel") -> str:
    """The hash of the weight files; for a model of the hub its commit, which stands for the same."""
    source = loaded.source
    folders = [folder for folder in (Path(source.base), source.adapter) if folder is not None]
    found = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.safetensors"))]
    commit = getattr(loaded.model.config, "_commit_hash", None)
    return hash_json([commit, *(hash_file(file) for file in found)])
