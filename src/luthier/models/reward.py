"""A reward model: a causal backbone with a scalar head that scores an answer at its last token.

It is transformers' own model for sequence classification with one label, so that what is saved is loaded by others:
AutoModelForSequenceClassification, and PEFT with its task type SEQ_CLS. `score_parts` finds backbone and head and
proves them; `RewardModel` scores rows of tokens. Knows nothing of losses and of files of data.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.chat.render import Renderer
from luthier.errors import ModelError
from luthier.models.forward import CausalParts, causal_parts, one_dtype
from luthier.models.hardware import choose_dtype
from luthier.models.load import (
    DTYPES,
    Source,
    attach_adapter,
    find_device,
    find_model,
    load_config,
    load_tokenizer,
    read_model,
)

HEAD = "score"


def load_scorer(place: str, dtype: torch.dtype) -> Any:
    """The model of a folder or hub id with a scalar head, on the CPU; a new head has random weights.

    Raises ModelError where it cannot be loaded, or has more than one label.
    """
    from transformers import AutoModelForSequenceClassification

    config = load_config(place)
    if is_scorer_config(config) and config.num_labels != 1:
        raise ModelError(f"{place}: a classifier of {config.num_labels} labels; a reward model has one score")
    config.num_labels = 1
    model, found = read_model(AutoModelForSequenceClassification, place, config, dtype)
    head = {f"{HEAD}.weight", f"{HEAD}.bias"}
    if missing := sorted(set(found["missing_keys"]) - head):
        raise ModelError(f"{place}: {len(missing)} weights are not in its files, the first is {missing[0]}")
    return model


def is_scorer_config(config: Any) -> bool:
    """Is this the config of a model that classifies sequences?"""
    names = getattr(config, "architectures", None) or []
    return any(str(name).endswith("ForSequenceClassification") for name in names)


def is_scorer(model: Any) -> bool:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(base).__name__.endswith("ForSequenceClassification")


def parts_of(model: Any) -> CausalParts:
    """Backbone and head of a language model or of a reward model. Raises ModelError where they cannot be told apart."""
    return score_parts(model) if is_scorer(model) else causal_parts(model)


def score_parts(model: Any) -> CausalParts:
    """Backbone and scalar head, proven on a few tokens. Raises ModelError."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone, head = getattr(base, base.base_model_prefix, None), getattr(base, HEAD, None)
    if not isinstance(backbone, nn.Module) or head is None or backbone is base:
        raise ModelError(f"{type(base).__name__}: expected a backbone and a head named {HEAD}, found none")
    parts = CausalParts(backbone, head, 1.0, 0.0)
    _prove(base, parts)
    return parts


@torch.no_grad()
def _prove(model: Any, parts: CausalParts) -> None:
    training = model.training
    model.eval()
    try:
        device = parts.head().weight_VC.device
        # None of them is the pad, at which the model itself would not look.
        count = min(8, int(model.config.vocab_size) - 1)
        ids = [i for i in range(count + 1) if i != model.config.pad_token_id][:count]
        token_ids_BT = torch.tensor([ids], device=device)
        with one_dtype(model, device):
            expected = model(input_ids=token_ids_BT, use_cache=False).logits[0]
            got = parts.head().logits(parts.hidden_states(token_ids_BT)[0, -1:])[0]
    finally:
        model.train(training)
    coarsest = max(torch.finfo(p.dtype).eps for p in model.parameters())
    worst = float((got - expected.to(got.dtype)).abs().max())
    if not worst <= 8 * coarsest * float(expected.abs().max() + 1):
        raise ModelError(
            f"{type(model).__name__} makes its score in a way Luthier does not know: head(backbone(x)) differs by "
            f"{worst:.3g}; a reward model of this architecture cannot be trained yet"
        )


def train_head(model: Any, master_dtype: torch.dtype) -> Any:
    """Let the scalar head train, whatever else does: it is new."""
    for name, parameter in model.named_parameters():
        # PEFT keeps the head that it was given beside the one that trains.
        if f".{HEAD}." in f".{name}" and "original_module" not in name:
            parameter.data = parameter.data.to(master_dtype)
            parameter.requires_grad_(True)
    return model


def choose_pad(model: Any, tokenizer: Any) -> None:
    """Give model and tokenizer a pad token with which no answer ends.

    transformers reads the score at the last token that is not the pad; where the pad is the end of turn, as in many
    tokenizers, it would read it one token too early.
    """
    ends = set(Renderer(tokenizer).stop_ids)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        control = sorted(i for i in tokenizer.get_added_vocab().values() if i not in ends)
        chosen = control[0] if control else next(i for i in range(len(tokenizer)) if i not in ends)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chosen)
    model.config.pad_token_id = tokenizer.pad_token_id


@dataclass
class RewardModel:
    """A reward model ready to score rows of tokens."""

    model: Any
    parts: CausalParts
    tokenizer: Any
    renderer: Renderer
    source: Source
    device: torch.device

    @torch.no_grad()
    def scores(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The score of each row of token ids, read at its last token. Rows go through the model together, padded."""
        width = max(len(row) for row in rows)
        token_ids = torch.zeros(len(rows), width, dtype=torch.long)
        for line, row in enumerate(rows):
            token_ids[line, : len(row)] = torch.tensor(row)
        last = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        hidden_BTC = self.parts.hidden_states(token_ids.to(self.device))
        ends_BC = hidden_BTC[torch.arange(len(rows), device=self.device), last]
        return [float(score) for score in self.parts.head().logits(ends_BC)[:, 0]]


def load_reward_model(ref: str, *, dtype: str = "auto", device: str = "auto") -> RewardModel:
    """Load a reward model, or an adapter that is one, for scoring.

    Raises ModelError for a model that was not trained to score: its head would be random numbers.
    """
    source = find_model(ref)
    if not (scores_only(source) or is_scorer_config(load_config(source.base))):
        raise ModelError(
            f"{ref}: a language model, not a reward model: it has no head that scores. Train one: "
            "luthier train --objective reward"
        )
    chosen = find_device(device)
    model = load_scorer(source.base, choose_dtype(chosen).dtype if dtype == "auto" else DTYPES[dtype])
    if source.adapter is not None:
        model = attach_adapter(model, source.adapter)
    tokenizer = load_tokenizer(source.tokenizer_place)
    model.to(chosen).eval()
    return RewardModel(model, score_parts(model), tokenizer, Renderer(tokenizer), source, chosen)


def scores_only(source: Source) -> bool:
    """Is this adapter one of a reward model?"""
    if source.adapter is None:
        return False
    config = json.loads((Path(source.adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    return isinstance(config, dict) and config.get("task_type") == "SEQ_CLS"
