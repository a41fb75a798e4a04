"""One version's answers to a request: the prompt, the cache, the engine, the deltas. Knows nothing of who asks."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from luthier.errors import ServingError
from luthier.hashing import hash_json
from luthier.serving.answering import answer
from luthier.serving.cache import Answer, AnswerCache
from luthier.serving.engines.engine import Ask, Engine, TokenMask
from luthier.serving.masks import json_mask
from luthier.serving.merge import merged
from luthier.serving.protocol import Delta, Finished, Request, Settings
from luthier.serving.refusals import BadRequest, TooLong
from luthier.serving.served import Prompt, Served

MakeMask = Callable[[Served, Mapping[str, Any]], TokenMask]


def schema_mask(served: Served, schema: Mapping[str, Any]) -> TokenMask:
    """What holds an answer of a version to a JSON schema. Raises BadRequest where the schema cannot be followed."""
    try:
        return json_mask(schema, served.renderer.tokenizer, served.stop_ids)
    except ServingError as error:
        raise BadRequest(str(error), "response_format") from error


@dataclass(frozen=True)
class ServiceLimits:
    """What no request may pass. generation_seconds: from the wait in the queue to the last token."""

    max_answers: int = 16
    max_tokens: int = 4096
    max_top_logprobs: int = 20
    generation_seconds: float = 300.0


class Asker:
    """Asks an engine in the words of a request."""

    def __init__(
        self, engine: Engine, cache: AnswerCache, make_mask: MakeMask | None, limits: ServiceLimits
    ) -> None:
        self.engine, self.cache, self.limits = engine, cache, limits
        self._make_mask = make_mask

    def prompt(self, served: Served, request: Request) -> Prompt:
        """What the engine gets. Raises BadRequest, and TooLong where no room is left for an answer."""
        if request.prompt is not None:
            prompt = served.raw_prompt(request.prompt)
        else:
            prompt = served.prompt(request.messages, request.tools)
        if self._room(prompt) < 1:
            raise TooLong(
                f"a prompt of {len(prompt.token_ids)} tokens leaves no room for an answer: the context of "
                f"{served.model} has {self.engine.context_length}. Ask for less, or drop earlier turns",
                "messages" if request.prompt is None else "prompt",
            )
        return prompt

    def most_tokens(self, served: Served, request: Request, prompt: Prompt) -> int:
        """The most that prompt and answers may come to."""
        sampling = served.sampled(request.settings, self._room(prompt), 0)
        return len(prompt.token_ids) + request.settings.num_answers * sampling.max_new_tokens

    def answers(
        self, served: Served, request: Request, prompt: Prompt
    ) -> AsyncGenerator[Delta | Finished, None]:
        """All answers to one prompt. Raises BadRequest; then what the engine raises."""
        return merged([self._one(served, request, prompt, i) for i in range(request.settings.num_answers)])

    async def _one(
        self, served: Served, request: Request, prompt: Prompt, index: int
    ) -> AsyncGenerator[Delta | Finished, None]:
        ask = await self._ask(served, request.settings, prompt, index)
        key = None
        if ask.sampling.temperature == 0 and self.cache.max_bytes:
            key = _key(served, request, ask)
            if (found := self.cache.get(key)) is not None:
                for event in _again(found, index):
                    yield event
                return
        open_stream = served.renderer.stream_text if request.prompt is not None else served.renderer.stream
        stream = open_stream(request.settings.stop, served.stop_ids)
        kept: list[Delta | Finished] = []
        answered = answer(
            self.engine,
            ask,
            stream,
            served.renderer.decode,
            index=index,
            timeout_seconds=self.limits.generation_seconds,
        )
        async with aclosing(answered) as events:
            async for event in events:
                kept.append(event)
                yield event
        if key is not None and isinstance(event, Finished) and not event.flags:
            self.cache.put(key, _together(kept))

    async def _ask(self, served: Served, settings: Settings, prompt: Prompt, index: int) -> Ask:
        first_seed = secrets.randbits(31) if settings.seed is None else settings.seed
        mask = None
        if settings.json_schema is not None:
            if self._make_mask is None:
                raise BadRequest("this server cannot hold answers to a JSON schema", "response_format")
            mask = await asyncio.to_thread(self._make_mask, served, settings.json_schema)  # it may take long
        return Ask(
            specialist=served.ref,
            prompt_ids=prompt.token_ids,
            sampling=served.sampled(settings, self._room(prompt), first_seed + index),
            stop_ids=served.stop_ids,
            num_top_logprobs=settings.num_top_logprobs,
            mask=mask,
        )

    def _room(self, prompt: Prompt) -> int:
        return min(self.limits.max_tokens, self.engine.context_length - len(prompt.token_ids))


def _key(served: Served, request: Request, ask: Ask) -> str:
    """Everything that an answer at temperature 0 depends on. The tools stand in the prompt."""
    schema = request.settings.json_schema
    return hash_json(
        {
            "version": served.content_id,
            "raw": request.prompt is not None,
            "prompt": ask.prompt_ids,
            "max_new_tokens": ask.sampling.max_new_tokens,
            "repetition_penalty": ask.sampling.repetition_penalty,
            "stop_ids": sorted(ask.stop_ids),
            "stop": request.settings.stop,
            "top_logprobs": ask.num_top_logprobs,
            "schema": None if schema is None else json.dumps(dict(schema)),  # its order is the answer's
        }
    )


def _together(events: list[Delta | Finished]) -> Answer:
    """An answer with its deltas in one."""
    deltas = [event for event in events if isinstance(event, Delta)]
    whole = Delta(
        0,
        "".join(one.text for one in deltas),
        "".join(one.reasoning for one in deltas),
        tuple(call for one in deltas for call in one.tool_calls),
        tuple(logprob for one in deltas for logprob in one.logprobs),
    )
    return (*([whole] if deltas else []), *(event for event in events if isinstance(event, Finished)))


def _again(found: Answer, index: int) -> list[Delta | Finished]:
    return [
        replace(event, index=index, from_cache=True)
        if isinstance(event, Finished)
        else replace(event, index=index)
        for event in found
    ]
