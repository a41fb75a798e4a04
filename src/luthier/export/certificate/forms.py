"""A model as it runs elsewhere: what it makes of a conversation, where it stops, its logits, its answer.

`Form` is what the certificate asks of each. `FolderForm` is a model or adapter folder as plain transformers loads it:
the folder's own template, tokenizer and stop ids, none of Luthier's care. `Trained` is the reference: the model as it
was trained, through Luthier's token path. Knows nothing of what the answers are compared with.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from luthier.chat.render import Renderer
from luthier.errors import ModelError
from luthier.export.certificate.probes import Probe
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel, find_model, load_model, stored_dtype

_NEVER = -1
_KEPT_BYTES = 1 << 30
_GENERATION = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `token_ids` with the stop id; None: a form gives text alone. `num_prompt_tokens`: as it counted."""

    text: str
    stopped: bool
    token_ids: tuple[int, ...] | None = None
    num_prompt_tokens: int | None = None


class Form(Protocol):
    """What can be asked of a form. What it cannot tell is None."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str:
        """A key of `verdict.TOLERANCES`."""
        ...

    @property
    def has_template(self) -> bool: ...
    @property
    def takes_tools(self) -> bool:
        """Whether tools can be asked of it as they were in training."""
        ...

    @property
    def stop_ids(self) -> tuple[int, ...] | None: ...
    def prompt_ids(self, probe: Probe) -> list[int] | None:
        """The probe by the form's own template and tokenizer. Raises TemplateError."""
        ...

    def encode(self, text: str) -> list[int] | None:
        """Plain text, no tokens around it."""
        ...

    def logits(self, token_ids: Sequence[int]) -> Tensor | None:
        """Next-token logits, float32, shape (T, vocabulary)."""
        ...

    def answers(self, probes: Sequence[Probe], max_new_tokens: int) -> list[Reply]:
        """Greedy answers, as the form renders and as it stops."""
        ...


class Trained:
    """The reference. What every form is held against is computed once, as far as `_KEPT_BYTES` go."""

    def __init__(self, loaded: LoadedModel, batch_size: int = 16) -> None:
        self.loaded, self._batch_size = loaded, batch_size
        self._kept: dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor] = {}
        self._room_bytes = _KEPT_BYTES

    @property
    def name(self) -> str:
        return self.loaded.name

    @property
    def renderer(self) -> Renderer:
        return self.loaded.renderer

    def prompt_ids(self, probe: Probe) -> list[int]:
        return self.renderer.prompt(probe.messages, probe.tools)

    def plain_ids(self, probe: Probe) -> list[int]:
        """As a runtime without our shield renders it: control strings in content become control tokens."""
        return plain_prompt(self.loaded.tokenizer, probe)

    def logits(self, token_ids: Sequence[int]) -> Tensor:
        return logits_of(self.loaded, token_ids)

    def logits_at(self, token_ids: Sequence[int], places: Sequence[int]) -> Tensor:
        """The logits at some places of a text, shape (places, vocabulary)."""
        key = tuple(token_ids), tuple(places)
        if key in self._kept:
            return self._kept[key]
        length = len(token_ids)  # virtual tokens stand before the text, and have logits too
        found = self.logits(token_ids)[-length:][list(places)].clone()
        if found.nbytes <= self._room_bytes:
            self._kept[key] = found
            self._room_bytes -= found.nbytes
        return found

    def answers(self, probes: Sequence[Probe], max_new_tokens: int) -> list[Reply]:
        prompts = [self.prompt_ids(probe) for probe in probes]
        return replies(self.loaded, prompts, max_new_tokens, self._batch_size)


class FolderForm:
    """A model folder, or an adapter folder over its base, as others load it."""

    takes_tools = True

    def __init__(
        self, folder: Path, name: str = "hf", precision: str | None = None, device: str = "auto"
    ) -> None:
        """Raises ModelError. The weights are computed with in float32, whatever they are stored in."""
        loaded = load_model(str(folder), dtype="float32", device=device)
        self._name = name
        self._precision = precision or _stored_precision(folder)
        self._stops = _shipped_stops(folder, loaded.tokenizer)
        renderer = _AsShipped(loaded.tokenizer, self._stops or (_NEVER,))
        self.loaded = replace(loaded, renderer=renderer)

    @property
    def name(self) -> str:
        return self._name

    @property
    def precision(self) -> str:
        return self._precision

    @property
    def has_template(self) -> bool:
        return bool(self.loaded.tokenizer.chat_template)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self._stops

    def prompt_ids(self, probe: Probe) -> list[int]:
        return plain_prompt(self.loaded.tokenizer, probe)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.loaded.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def logits(self, token_ids: Sequence[int]) -> Tensor:
        return logits_of(self.loaded, token_ids)

    def answers(self, probes: Sequence[Probe], max_new_tokens: int) -> list[Reply]:
        prompts = [self.prompt_ids(probe) for probe in probes]
        rows = self.loaded.model.get_input_embeddings().weight.shape[0]
        if (largest := max(max(prompt) for prompt in prompts)) >= rows:
            raise ModelError(f"its tokenizer writes id {largest}, and its embeddings have {rows} rows")
        return replies(self.loaded, prompts, max_new_tokens)


class _AsShipped(Renderer):
    """Stops where the folder says, not where the template ends a turn."""

    def __init__(self, tokenizer: Any, stop_ids: tuple[int, ...]) -> None:
        super().__init__(tokenizer)
        self._shipped = stop_ids

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self._shipped


def _shipped_stops(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    places = (folder / _GENERATION, Path(find_model(str(folder)).base) / _GENERATION)
    path = next((place for place in places if place.exists()), None)
    found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path is not None else None
    if found is None:
        found = tokenizer.eos_token_id
    return () if found is None else tuple(found) if isinstance(found, list) else (int(found),)


def _stored_precision(folder: Path) -> str:
    return str(stored_dtype(find_model(str(folder)).base)).removeprefix("torch.")


def plain_prompt(tokenizer: Any, probe: Probe) -> list[int]:
    """`apply_chat_template`, as every guide calls it."""
    ids: list[int] = tokenizer.apply_chat_template(
        [message.to_dict() for message in probe.messages],
        tools=[dict(tool) for tool in probe.tools] or None,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return list(ids)


@torch.inference_mode()
def logits_of(loaded: LoadedModel, token_ids: Sequence[int]) -> Tensor:
    """float32, shape (T, vocabulary)."""
    ids_BT = torch.tensor([list(token_ids)], device=loaded.device)
    logits: Tensor = loaded.model(input_ids=ids_BT).logits[0]
    return logits.float().cpu()


def replies(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int = 16
) -> list[Reply]:
    """Greedy answers of a model in memory."""
    found = []
    for start in range(0, len(prompts), batch_size):
        some = prompts[start : start + batch_size]
        for prompt, ids in zip(
            some, generate(loaded, some, Sampling(max_new_tokens=max_new_tokens)), strict=True
        ):
            stopped = bool(ids) and ids[-1] in loaded.renderer.stop_ids
            text = loaded.tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=False)
            found.append(Reply(text, stopped, tuple(ids), len(prompt)))
    return found
