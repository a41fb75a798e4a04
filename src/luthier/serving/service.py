"""One request through its stages: who answers, guards, documents, the prompt, the engine, tools, guards, the record.

Knows nothing of HTTP and of what computes. What is not handed in is not done: no guards, no keys, no record.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from luthier.chat.messages import Message
from luthier.errors import LuthierError
from luthier.serving.asking import Asker
from luthier.serving.canary import Outcome
from luthier.serving.choosing import NAMED, Choice, Chooser
from luthier.serving.embedding import Embedded, embed, read_texts
from luthier.serving.engines.engine import Overloaded
from luthier.serving.guarding import REFUSED, guarded
from luthier.serving.guards import Action, GuardSet
from luthier.serving.knowledge.prompt import context_of
from luthier.serving.merge import in_order
from luthier.serving.metrics import Metrics
from luthier.serving.protocol import (
    Chosen,
    Delta,
    Event,
    Feedback,
    Finished,
    Interaction,
    Recorder,
    Request,
    Usage,
)
from luthier.serving.refusals import BadRequest, Refusal
from luthier.serving.served import Prompt, Served
from luthier.serving.splitting import split
from luthier.serving.tagging import with_results
from luthier.serving.telling import Telling
from luthier.serving.tools import Tool
from luthier.serving.traffic import Rollback

_log = logging.getLogger(__name__)
_MOST_SHADOWS = 4


class Admissions(Protocol):
    """Whether the one who asks may ask this now."""

    def admit(self, request: Request, specialist: str | None, num_tokens: int) -> None:
        """Raises NotAllowed, and Overloaded where a limit of the key is reached. Else `release` follows, once."""
        ...

    def release(self, request: Request, unused_tokens: int) -> None:
        """An admitted request has ended."""
        ...


class Service:
    """Answers requests, many at a time, on one event loop."""

    def __init__(
        self,
        chooser: Chooser,
        asker: Asker,
        metrics: Metrics,
        *,
        guards: GuardSet | None = None,
        tools: Sequence[Tool] = (),
        admissions: Admissions | None = None,
        recorder: Recorder | None = None,
        told: Callable[[Interaction], None] = lambda interaction: None,
    ) -> None:
        """`tools`: what answers may call by a tag. `told` hears of every request once it has ended."""
        self.chooser, self.asker, self.metrics, self.recorder = chooser, asker, metrics, recorder
        self.engine = asker.engine
        self._guards, self._tools, self._admissions, self._told = guards, tuple(tools), admissions, told
        self._background: set[asyncio.Task[None]] = set()
        metrics.watch(self.engine.status, asker.cache)

    async def answer(self, request: Request) -> AsyncGenerator[Event, None]:
        """Who answers, then the answers as they come. Closing it cancels them at once.

        Raises Refusal where the request cannot be answered as it is, Overloaded where it is too much now, Unavailable
        where the engine broke: all of them before the first delta, but for an engine that breaks over an answer.
        """
        telling = Telling(request)
        try:
            if request.orchestrate:
                choice, answers = await self._split(request)
            else:
                choice = await self.chooser.choose(request)
                answers = self._answered(choice.served, request, telling)
            telling.choice = choice
            yield choice.chosen
            async with aclosing(answers) as events:
                async for event in events:
                    telling.note(event)
                    yield event
            telling.end()
            for served in choice.shadows:
                self._ask_unseen(served, request)
        except (Refusal, Overloaded) as error:
            telling.fail("refused", error)
            self.metrics.refused(type(error).__name__)
            raise
        except Exception as error:
            telling.fail("failed", error)
            raise
        finally:
            self._tell(telling)

    async def embed(self, model: str, texts: Sequence[str], key_id: str | None = None) -> Embedded:
        """Texts as vectors. Nothing is recorded of them. Raises Refusal, Overloaded, Unavailable, ServingError."""
        request = Request("", model, key_id=key_id)
        try:
            served = self.chooser.find(model)
            prompts = read_texts(served, texts, self.engine.context_length)
            if self._admissions is not None:
                self._admissions.admit(request, served.ref, sum(map(len, prompts)))
            try:
                found = await embed(self.engine, served, prompts, self.asker.limits.generation_seconds)
            finally:
                if self._admissions is not None:
                    self._admissions.release(request, 0)
        except (Refusal, Overloaded) as error:
            self.metrics.refused(type(error).__name__)
            raise
        self.metrics.embedded(served.model, found.num_tokens)
        return found

    async def feedback(self, said: Feedback) -> bool:
        """Keep what a person said of an answer, and count a thumb for a canary; False where no such answer is known."""
        recorder = self.recorder
        if recorder is None or not await asyncio.to_thread(recorder.feedback, said):
            return False
        if said.thumb is not None:
            specialist = await asyncio.to_thread(recorder.specialist_of, said.interaction_id)
            if specialist is not None:
                self.rolled_back(self.chooser.traffic.observe_thumb(specialist, said.thumb))
        return True

    async def close(self) -> None:
        """End what runs, and write what waits to be written."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.engine.close()
        if self.recorder is not None:
            await asyncio.to_thread(self.recorder.close)

    async def _answered(
        self, served: Served, request: Request, telling: Telling
    ) -> AsyncGenerator[Delta | Finished, None]:
        """The answers of one version: the stages between the choice and the record."""
        request, noted, refusal = self._checked(request)
        telling.asked(request.messages)
        for event in refusal:
            yield event
        if refusal:
            return
        messages, passages = served.looked_up(request.messages)
        prompt = self.asker.prompt(served, replace(request, messages=messages))
        telling.prompted(prompt)
        with self._admitted(served, request, prompt, telling):
            answers = self.asker.answers(served, request, prompt)
            if self._tools:
                answers = with_results(answers, self._tools)
            if self._guards is not None:
                context = context_of(passages) if passages else None
                answers = guarded(answers, self._guards, request.messages, context)
            sources = tuple(passage.to_dict() for passage in passages)
            async with aclosing(answers) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        event = replace(event, flags=(*noted, *prompt.flags, *event.flags), sources=sources)
                    yield event

    async def _split(self, request: Request) -> tuple[Choice, AsyncGenerator[Delta | Finished, None]]:
        """A question of several specialists: each part goes through all the stages by itself."""

        async def ask(served: Served, part: Request) -> list[Delta | Finished]:
            telling = Telling(part)
            said: list[Delta | Finished] = []
            async with aclosing(self._answered(served, part, telling)) as events:
                async for event in events:
                    telling.note(event)
                    said.append(event)
            return said

        choice, said = await split(request, self.chooser, ask)
        return choice, in_order(said)

    def _checked(self, request: Request) -> tuple[Request, tuple[str, ...], list[Delta | Finished]]:
        """(the request as guards let it through, what they noted, the answer where they refuse it)."""
        most = self.asker.limits.max_answers
        if not 1 <= request.settings.num_answers <= most:
            raise BadRequest(f"n: expected 1 to {most}, got {request.settings.num_answers}", "n")
        if self._guards is None:
            return request, (), []
        raw = request.prompt is not None
        asked = (Message("user", request.prompt or ""),) if raw else request.messages
        verdict = self._guards.check_input(asked)
        if verdict.action is Action.REFUSE:
            self.metrics.refused("guard")
            end = Finished(0, REFUSED, Usage(0, 0), flags=verdict.reasons)
            return request, verdict.reasons, [Delta(0, verdict.text), end]
        if raw:
            return replace(request, prompt=verdict.messages[0].content), verdict.reasons, []
        return replace(request, messages=verdict.messages), verdict.reasons, []

    @contextlib.contextmanager
    def _admitted(self, served: Served, request: Request, prompt: Prompt, telling: Telling) -> Iterator[None]:
        if self._admissions is None or telling.shadow_of is not None:  # nobody asked for a shadow's answer
            yield
            return
        most = self.asker.most_tokens(served, request, prompt)
        self._admissions.admit(request, served.ref, most)
        try:
            yield
        finally:
            usage = telling.usage
            self._admissions.release(request, max(0, most - usage.num_prompt - usage.num_generated))

    # ---- what follows an answer

    def _tell(self, telling: Telling) -> None:
        interaction = telling.interaction()
        model = telling.choice.served.model if telling.choice else "unknown"
        self.metrics.answered(interaction, model)
        for flag in telling.flags:
            self.metrics.flagged(flag.partition(":")[0])
        self._told(interaction)
        if self.recorder is not None:
            self.recorder.record(interaction)
        if interaction.specialist is None or interaction.shadow_of is not None:
            return
        was_cut = "length" in interaction.finish_reasons
        outcome = Outcome(interaction.outcome, was_cut, interaction.total_seconds)
        self.rolled_back(self.chooser.traffic.observe(interaction.specialist, outcome))

    def rolled_back(self, rollback: Rollback | None) -> None:
        """A canary was taken out by the traffic: unmount it once what runs of it has ended."""
        if rollback is None:
            return
        self.metrics.flagged("canary_rolled_back")
        if rollback.specialist not in self.chooser.traffic.specialists():
            self.run_behind(self.chooser.roster.unmount(rollback.specialist))

    def _ask_unseen(self, served: Served, request: Request) -> None:
        if len(self._background) < _MOST_SHADOWS:
            self.run_behind(self._shadow(served, request))

    async def _shadow(self, served: Served, request: Request) -> None:
        """An answer that is recorded and never shown."""
        telling = Telling(replace(request, id=f"{request.id}-shadow"), shadow_of=request.id)
        telling.choice = Choice(Chosen(served.ref, served.model, NAMED, "shadow"), served)
        try:
            async with aclosing(self._answered(served, request, telling)) as events:
                async for event in events:
                    telling.note(event)
            telling.end()
        except LuthierError as error:
            telling.fail("failed", error)
        finally:
            self._tell(telling)

    def run_behind(self, work: Coroutine[None, None, None]) -> None:
        """Work beside the answers; it ends with the service, and what goes wrong in it is logged."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what runs behind an answer failed: %s", error)
