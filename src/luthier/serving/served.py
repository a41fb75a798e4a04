"""A specialist of the store, or the base, ready to be asked: what rules its prompts and its answers.

The template, the system prompt (byte for byte), the sampling and the stop ids are those that it was tested with; a
request may set another sampling, and another system prompt, which is noted. Knows nothing of engines.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.errors import DataError, ServingError, TemplateError
from luthier.models.generate import Sampling
from luthier.models.load import load_tokenizer
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore
from luthier.serving.knowledge import KnowledgeBase, Passage, default_folder, prompt_with
from luthier.serving.protocol import Settings
from luthier.serving.refusals import BadRequest

OTHER_SYSTEM_PROMPT = "system_prompt_differs"


@dataclass(frozen=True)
class Prompt:
    """What goes to the engine, and what is to be noted about it."""

    token_ids: tuple[int, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Served:
    """`ref`: NAME@NUMBER, None for the base. `model`: its id as clients see it. `content_id`: the hash of what it is.
    `adapter`: the folder that is laid over the base. `certificate`: the word for the form that is served, None where
    there is none. `created`: seconds since 1970. `knowledge`: the documents that it answers from, `num_passages` at a
    time. `num_bytes`: of its files, 0 where they are not on this disk."""

    ref: str | None
    model: str
    content_id: str
    renderer: Renderer
    stop_ids: frozenset[int]
    sampling: Sampling = field(default_factory=Sampling)
    system_prompt: str | None = None
    adapter: Path | None = None
    certificate: str | None = None
    created: int = 0
    num_bytes: int = 0
    knowledge: KnowledgeBase | None = None
    num_passages: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name without the version."""
        return self.model if self.ref is None else self.ref.partition("@")[0]

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Prompt:
        """The ids of the one token path. Raises BadRequest where the template cannot show what is asked."""
        own = self.system_prompt
        flags: tuple[str, ...] = ()
        if messages and messages[0].role == "system":
            flags = (OTHER_SYSTEM_PROMPT,) if own is not None and messages[0].content != own else ()
        elif own is not None:
            messages = [Message("system", own), *messages]
        try:
            return Prompt(tuple(self.renderer.prompt(messages, tools)), flags)
        except (DataError, TemplateError) as error:
            raise BadRequest(str(error), "messages") from error

    def looked_up(self, messages: Sequence[Message]) -> tuple[tuple[Message, ...], list[Passage]]:
        """(the messages as its training rows had them, on what its documents say; what they say)."""
        question = next((one.content for one in reversed(messages) if one.role == "user"), "")
        if self.knowledge is None or not question.strip():
            return tuple(messages), []
        passages = self.knowledge.search(question, self.num_passages)
        return prompt_with(messages, passages), passages

    def raw_prompt(self, text: str, field: str = "prompt") -> Prompt:
        """A text as it is, without the template. Raises BadRequest, that names the field, where it is no text."""
        try:
            ids = self.renderer.tokenizer(text)["input_ids"]
        except (TypeError, UnicodeEncodeError) as error:
            raise BadRequest(f"{field}: the text is not Unicode", field) from error
        if not ids:
            raise BadRequest(f"{field}: the text is empty", field)
        return Prompt(tuple(ids))

    def sampled(self, settings: Settings, room: int, seed: int) -> Sampling:
        """How this answer is sampled: the request's wishes over its own values, in at most `room` tokens."""
        wishes: dict[str, Any] = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
            "repetition_penalty": settings.repetition_penalty,
            "max_new_tokens": settings.max_tokens,
        }
        sampling = replace(self.sampling, **{name: wish for name, wish in wishes.items() if wish is not None})
        return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, room), seed=seed)

    @property
    def shows_tools(self) -> bool:
        """Whether the template has a place for tools."""
        tool = {"type": "function", "function": {"name": "a", "parameters": {}}}
        try:
            self.prompt([Message("user", "a")], [tool])
        except BadRequest:
            return False
        return True

    def shared_prompt_ids(self) -> tuple[int, ...]:
        """The ids that all its prompts begin with, as two of them show."""
        if self.system_prompt is None:
            return ()
        first, second = (self.prompt([Message("user", text)]).token_ids for text in ("a", "7"))
        pairs = zip(first, second, strict=False)
        return tuple(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def serve_base(name: str, renderer: Renderer, content_id: str, num_bytes: int = 0) -> Served:
    """The base itself: its own template, greedy unless asked otherwise."""
    stop_ids = frozenset(renderer.stop_ids)
    return Served(None, name, content_id, renderer, stop_ids, num_bytes=num_bytes, details={"form": "base"})


def serve_specialist(
    store: SpecialistStore,
    one: Specialist,
    base: Served,
    certified: Callable[[Mapping[str, Any]], str | None],
) -> Served:
    """A version of the store over this base.

    `certified`: the word of a certificate for the form that will be served. Raises ServingError where it cannot be
    served over a shared base: whole weights, or another base.
    """
    manifest = one.manifest
    if manifest.get("form") != "adapter":
        raise ServingError(
            f"{one.ref}: its form is {manifest.get('form')!r}: whole weights, which cannot be laid over a base that "
            "others share. Train it with an adapter method (lora), or export it and serve it by itself"
        )
    hash = (manifest.get("base") or {}).get("hash")
    if hash != base.content_id:
        raise ServingError(
            f"{one.ref}: it was trained on another base ({(manifest.get('base') or {}).get('name')}, {hash}) than the "
            f"one that is served ({base.model}, {base.content_id}); serve it with luthier serve {one.ref}"
        )
    folder = store.opened(one) / "model"
    own_tokenizer = (folder / "tokenizer.json").exists()
    renderer = Renderer(load_tokenizer(str(folder))) if own_tokenizer else base.renderer
    documents = one.knowledge
    return Served(
        ref=one.ref,
        model=one.name,
        content_id=one.id,
        renderer=renderer,
        stop_ids=frozenset(manifest.get("stop_ids") or renderer.stop_ids),
        sampling=_sampling(one),
        system_prompt=one.system_prompt,
        adapter=folder,
        certificate=_word(store, one, certified),
        knowledge=KnowledgeBase.open(default_folder(documents.name)) if documents else None,
        num_passages=documents.num_passages if documents else 0,
        created=_seconds(one.created),
        num_bytes=one.num_bytes,
        details={"form": manifest["form"], "base": base.model, "licence": manifest.get("licence")},
    )


def _sampling(one: Specialist) -> Sampling:
    said = one.manifest.get("sampling") or {}
    unknown = set(said) - {field.name for field in fields(Sampling)}
    if unknown:
        raise ServingError(
            f"{one.ref}: its manifest sets {sorted(unknown)[0]!r}, which is no part of sampling"
        )
    return Sampling(**said)


def _word(
    store: SpecialistStore, one: Specialist, certified: Callable[[Mapping[str, Any]], str | None]
) -> str | None:
    words = [certified(record["body"]) for record in store.records(one, "certificate")]
    return next((word for word in reversed(words) if word is not None), None)


def _seconds(iso: str) -> int:
    when = datetime.fromisoformat(iso)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
