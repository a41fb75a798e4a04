"""Toys for the engine: a base whose answers do not repeat themselves, adapters of every method, asks."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel, load_model
from luthier.models.methods import apply_method, save_trained
from luthier.serving.engines.engine import Ask, Mounted, Piece
from luthier.serving.engines.torch.build import default_limits
from luthier.serving.engines.torch.engine import TorchEngine
from tests.toy import byte_tokenizer, tiny_model
from tests.training.toys import method_config

SHARED = {
    "lora": ("lora", {}),
    "lora-qv": ("lora", {"targets": ["q_proj", "v_proj"], "rank": 2}),
    "rslora": ("rslora", {}),
    "pissa": ("pissa", {}),
    "dora": ("dora", {}),
    "ia3": ("ia3", {}),
    "adapter": ("adapter", {}),
    "prompt": ("prompt", {}),
    "prefix": ("prefix", {}),
}


def base_folder(folder: Path, architecture: str = "llama") -> Path:
    """A tiny base on the disk, with weights that are large enough for answers that wander."""
    tokenizer = byte_tokenizer()
    model = tiny_model(architecture, vocab_size=len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapter_folder(folder: Path, base: Path, name: str = "lora", seed: int = 1, **changes: Any) -> Path:
    """An adapter of a method over `base`, with random weights in the place of trained ones."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    method = method_config(name, **changes)
    adapted = apply_method(model, method, str(base), torch.float32)
    with torch.no_grad():
        for parameter_name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                spread = 1.0 if "prompt_encoder" in parameter_name else 0.3
                parameter.add_(spread * torch.randn_like(parameter))
    save_trained(adapted, byte_tokenizer(), folder)
    return folder


def engine_over(loaded: LoadedModel, **changes: Any) -> TorchEngine:
    limits = {"max_batch": 4, "max_queue": 64, "kv_bytes": 1 << 30, "prefix_bytes": 1 << 24} | changes
    return TorchEngine(loaded, default_limits(loaded.device, **limits))


def load(folder: Path) -> LoadedModel:
    return load_model(str(folder), dtype="float32", device="cpu")


def alone(loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling) -> list[int]:
    """What models.generate answers to this prompt by itself."""
    return generate(loaded, [prompt], sampling)[0]


def ask(prompt: Sequence[int], sampling: Sampling, specialist: str | None = None, **more: Any) -> Ask:
    return Ask(specialist, tuple(prompt), sampling, more.pop("stop_ids", frozenset()), **more)


async def all_pieces(engine: TorchEngine, one: Ask) -> list[Piece]:
    return [piece async for piece in engine.answer(one)]


async def ids_of(engine: TorchEngine, one: Ask) -> list[int]:
    return [token for piece in await all_pieces(engine, one) for token in piece.token_ids]


async def together(engine: TorchEngine, asks: Sequence[Ask]) -> list[list[int]]:
    return await asyncio.gather(*(ids_of(engine, one) for one in asks))


def mounted(name: str, adapter: Path | None, shared: Sequence[int] = ()) -> Mounted:
    return Mounted(name, adapter, tuple(shared))
