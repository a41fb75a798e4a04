"""Toys for the trainer: random rows, a learner, a tracker with a memory, a tiny model folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM

from luthier.data.batches import BatchPlan
from luthier.data.dataset import TokenDataset
from luthier.models.forward import causal_parts
from luthier.models.methods import apply_full, apply_lora
from luthier.training.checkpoint import CheckpointStore
from luthier.training.loop import Learner, LoopConfig, LoopResult, train
from luthier.training.method_config import LoraMethod, MethodConfig, method_defaults
from luthier.training.objectives import OBJECTIVES
from luthier.training.optim import build_optimizers, build_schedule
from luthier.training.recipe import OptimConfig
from luthier.training.tracking import Checkpoint, End, Evaluation, Spike, Step
from tests.toy import byte_tokenizer, tiny_model

VOCAB = 64


def random_rows(lengths: Sequence[int], *, vocab_size: int = VOCAB, seed: int = 0) -> TokenDataset:
    """Rows of random ids; about half the tokens carry a weight of 0.5, 1 or 2, the last one always."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(1, vocab_size, offsets[-1]).astype(np.int32)
    weights = rng.choice([0.0, 0.0, 0.0, 0.5, 1.0, 2.0], offsets[-1]).astype(np.float32)
    weights[offsets[:-1]] = 0.0
    weights[offsets[1:] - 1] = 1.0
    return TokenDataset(ids, weights, offsets, [f"rows:{i + 1}" for i in range(len(lengths))])


def optim_config(**changes: Any) -> OptimConfig:
    values = {
        "name": "adamw",
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "warmup_share": 0.1,
        "final_share": 0.1,
        "num_cycles": 3,
        "power": 2.0,
        "decay_share": 0.2,
        "weight_decay": 0.01,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-8,
        "momentum": 0.95,
        "clip_norm": 1.0,
    }
    return OptimConfig(**(values | changes))


def lora_method(name: str = "lora", **changes: Any) -> LoraMethod:
    values = {"name": name, "rank": 4, "alpha": 8, "dropout": 0.1, "targets": "all-linear"}
    return LoraMethod(**(values | changes))


@dataclass
class Memory:
    """A tracker that remembers, in order."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    stop_after: int | None = None

    def start(self, total_steps: int, first_step: int = 0) -> None:
        self.events.append(("start", (total_steps, first_step)))

    def step(self, event: Step) -> None:
        self.events.append(("step", event))
        if event.step == self.stop_after:
            import signal

            signal.raise_signal(signal.SIGINT)

    def spike(self, event: Spike) -> None:
        self.events.append(("spike", event))

    def evaluation(self, event: Evaluation) -> None:
        self.events.append(("evaluation", event))

    def checkpoint(self, event: Checkpoint) -> None:
        self.events.append(("checkpoint", event))

    def message(self, text: str) -> None:
        self.events.append(("message", text))

    def close(self, event: End) -> None:
        self.events.append(("end", event))

    def of(self, kind: str) -> list[Any]:
        return [event for name, event in self.events if name == kind]

    @property
    def losses(self) -> dict[int, float]:
        return {event.step: event.loss for event in self.of("step")}


def dropout_model(method: str = "full", seed: int = 0, architecture: str = "llama") -> Any:
    """A tiny model with attention dropout (full) or adapter dropout (any other method's name)."""
    torch.manual_seed(seed)
    model = tiny_model(architecture, vocab_size=VOCAB)
    model.config.attention_dropout = 0.1
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.1
    return apply_full(model) if method == "full" else apply_lora(model, lora_method(method), "toy")


def run_loop(
    folder: Path,
    model: Any,
    *,
    num_steps: int = 6,
    tracker: Memory | None = None,
    optim: OptimConfig | None = None,
    rows: TokenDataset | None = None,
    checkpoint_every: int = 1,
    evaluate_every: int = 1000,
    patience: int = 0,
    tokens_per_microbatch: int = 64,
    batch_size: int = 4,
    keep: int = 3,
    **options: Any,
) -> tuple[LoopResult, Memory]:
    """Train a toy with the real loop."""
    tracker = tracker or Memory()
    optim = optim or optim_config()
    rows = rows or random_rows([5, 9, 12, 7, 17, 3, 20, 11, 6, 8])
    result = train(
        Learner(model, causal_parts(model), torch.device("cpu")),
        OBJECTIVES["sft"],
        BatchPlan(rows, batch_size, tokens_per_microbatch, seed=0),
        build_optimizers(model.named_parameters(), optim),
        build_schedule(optim, num_steps),
        LoopConfig(num_steps, evaluate_every, checkpoint_every, optim.clip_norm, patience),
        store=CheckpointStore(folder, keep),
        tracker=tracker,
        **options,
    )
    return result, tracker


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def model_folder(folder: Path, *, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """A tiny llama and its tokenizer on the disk."""
    tokenizer = byte_tokenizer()
    config = tiny_model("llama", vocab_size=len(tokenizer)).config
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chat_file(path: Path, count: int = 12) -> Path:
    """Questions with short answers, one JSON object a line."""
    rows = [{"prompt": f"What is {n} plus one?", "completion": f"It is {n + 1}."} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def method_config(name: str, **changes: Any) -> Any:
    """A method section with the recipe's defaults, small enough for toys."""
    small: dict[str, dict[str, Any]] = {
        "top_layers": {"num_layers": 1},
        "freeze": {"train": [r"layers\.1\.", "norm"]},
        "pissa": {"rank": 4, "alpha": 4},
        "adapter": {"size": 8},
        "prompt": {"num_tokens": 4},
        "prefix": {"num_tokens": 4},
    }
    low_rank = {"rank": 4, "alpha": 8} if name in ("lora", "dora", "rslora") else {}
    values = {**method_defaults(name).get("method", {}), **low_rank, **small.get(name, {}), **changes}
    return TypeAdapter(MethodConfig).validate_python({"name": name, **values})
