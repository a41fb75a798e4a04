"""Token ids in, token ids out: batched and streaming generation on transformers' own `generate`.

Sampling is always stated by the caller, so a model's shipped generation_config never sets a temperature
behind a measurement's back. This file knows nothing of text, templates or graders.
"""

import contextlib
import queue
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.errors import ModelError
from luthier.models.load import LoadedModel
from luthier.models.methods.virtual import virtual_tokens


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. temperature 0 is greedy; top_p 1 and top_k 0 switch those filters off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0


def generate(loaded: LoadedModel, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
    """Continue each prompt; returns the new ids of each, with the stop id where one came.

    Prompts of one call are padded at the left to the longest; behind virtual tokens, only prompts of one length go
    together, because pads between the virtual tokens and the prompt would move it away from them. Sampling depends on
    `seed` alone and leaves torch's random state as it was. Raises ModelError where a prompt leaves no room in the
    context.
    """
    if virtual_tokens(loaded.model) is None:
        return _padded(loaded, prompts, sampling)
    answers: list[list[int]] = [[] for _ in prompts]
    for length in sorted({len(prompt) for prompt in prompts}):
        places = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
        found = _padded(loaded, [prompts[place] for place in places], sampling)
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer
    return answers


def _padded(loaded: LoadedModel, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
    if not prompts:
        return []
    longest = max(len(prompt) for prompt in prompts)
    _check_room(loaded, longest)
    pad_id = _pad_id(loaded)
    ids_BT = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BT[row, longest - len(prompt) :] = 1
    output_BT = _generate(loaded, ids_BT, mask_BT, sampling, streamer=None)
    stops = set(loaded.renderer.stop_ids)
    return [_through_stop(row[longest:], stops) for row in output_BT.tolist()]


def stream(loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
    """Continue one prompt, token by token; the stop id, where one comes, is the last token.

    Closing the iterator early stops the generation after the token in progress.
    """
    _check_room(loaded, len(prompt))
    ids_BT = torch.tensor([list(prompt)])
    tokens: queue.Queue[int | BaseException | None] = queue.Queue()
    closed = threading.Event()

    def work() -> None:
        try:
            _generate(loaded, ids_BT, torch.ones_like(ids_BT), sampling, streamer=_Streamer(tokens, closed))
            tokens.put(None)
        except BaseException as error:  # handed to the reader, who raises it
            tokens.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (token := tokens.get()) is not None:
            if isinstance(token, BaseException):
                raise token
            yield token
    finally:
        closed.set()
        thread.join()


class _Closed(Exception):
    """The reader of a stream has gone."""


class _Streamer:
    """What transformers' `generate` calls with each new token; the first call holds the prompt."""

    def __init__(self, tokens: "queue.Queue[int | BaseException | None]", closed: threading.Event) -> None:
        self.tokens, self.closed, self.prompt_seen = tokens, closed, False

    def put(self, value: torch.Tensor) -> None:
        if not self.prompt_seen:
            self.prompt_seen = True
            return
        if self.closed.is_set():
            raise _Closed
        for token in value.reshape(-1).tolist():
            self.tokens.put(int(token))

    def end(self) -> None:
        """Nothing to flush: every token was handed on as it came."""


@torch.inference_mode()
def _generate(
    loaded: LoadedModel, ids_BT: torch.Tensor, mask_BT: torch.Tensor, sampling: Sampling, streamer: Any
) -> torch.Tensor:
    from transformers import GenerationConfig

    room = loaded.context_length - ids_BT.shape[1] if loaded.context_length else sampling.max_new_tokens
    sampled = sampling.temperature > 0
    config = GenerationConfig(
        max_new_tokens=min(sampling.max_new_tokens, room),
        do_sample=sampled,
        temperature=sampling.temperature if sampled else None,
        top_p=sampling.top_p if sampled else None,
        top_k=sampling.top_k if sampled else None,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=list(loaded.renderer.stop_ids),
        pad_token_id=_pad_id(loaded),
    )
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with (
        _stated_settings_only(loaded.model),
        torch.random.fork_rng(devices=devices, enabled=sampled),
        warnings.catch_warnings(),
    ):
        # PEFT counts positions itself behind virtual tokens; nothing is padded there, so they are the ones meant.
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        if sampled:
            torch.manual_seed(sampling.seed)
        output: torch.Tensor = loaded.model.generate(
            input_ids=ids_BT.to(loaded.device),
            attention_mask=mask_BT.to(loaded.device),
            generation_config=config,
            streamer=streamer,
        )
    return output


@contextlib.contextmanager
def _stated_settings_only(model: Any) -> Iterator[None]:
    """transformers fills what a caller leaves open (beams, bans, min_p) from the model's file: not meanwhile."""
    from transformers import GenerationConfig

    owners = [model, model.get_base_model()] if hasattr(model, "get_base_model") else [model]
    shipped = [owner.generation_config for owner in owners]
    for owner in owners:
        owner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for owner, settings in zip(owners, shipped, strict=True):
            owner.generation_config = settings


def _check_room(loaded: LoadedModel, prompt_length: int) -> None:
    if loaded.context_length and prompt_length >= loaded.context_length:
        raise ModelError(
            f"a prompt of {prompt_length} tokens leaves no room for an answer: {loaded.name} has a context of "
            f"{loaded.context_length}"
        )


def _pad_id(loaded: LoadedModel) -> int:
    pad_id = loaded.tokenizer.pad_token_id
    return int(pad_id) if pad_id is not None else int(loaded.renderer.stop_ids[0])


def _through_stop(ids: list[int], stops: set[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in stops:
            return ids[: position + 1]
    return ids
