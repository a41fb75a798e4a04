"""One forward pass in two halves: the backbone gives hidden states, the head turns some of them into logits.

Halving it lets a loss ask for logits only where something is predicted, and in pieces, so that the full
(tokens x vocabulary) matrix never exists. `causal_parts` finds the halves of any transformers causal model
and proves, on a few tokens of that very model, that head(backbone(x)) equals what the model itself answers.
This file knows nothing of losses, batches, or of adapters beyond unwrapping them and the virtual tokens of some.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.models.kept import compute_dtypes, wide_linear
from luthier.models.methods.virtual import VirtualTokens, virtual_tokens
from luthier.models.quantized import coarsest_rounding


@dataclass(frozen=True)
class Head:
    """hidden -> logits: `softcap * tanh((hidden @ weight.T + bias) * scale / softcap)`.

    weight_VC: (vocabulary, channels). bias_V or None. scale: Granite divides and Cohere multiplies its
    logits by a constant. softcap: Gemma 2 bounds its logits; 0 means no bound.
    """

    weight_VC: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float = 0.0

    def logits(self, hidden_NC: Tensor) -> Tensor:
        """Logits of shape (N, vocabulary), in float32 (or float64, as the weights are) after the product."""
        dtype = torch.promote_types(hidden_NC.dtype, self.weight_VC.dtype)
        logits = wide_linear(hidden_NC.to(dtype), self.weight_VC, self.bias_V)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits


@dataclass(frozen=True)
class CausalParts:
    """A causal language model as backbone and head. `backbone` keeps any adapter layers that are inside it.

    `virtual`: what a prompt or a prefix puts before every sequence, which is no part of the backbone.
    """

    backbone: nn.Module
    lm_head: nn.Module
    scale: float
    softcap: float
    virtual: VirtualTokens | None = None

    def hidden_states(self, token_ids_BT: Tensor) -> Tensor:
        """Final hidden states, shape (B, T, channels). Rows are right-padded: causal attention needs no mask."""
        if self.virtual is not None:
            return self.virtual.hidden_states(self.backbone, token_ids_BT)
        hidden: Tensor = self.backbone(input_ids=token_ids_BT, use_cache=False).last_hidden_state
        return hidden

    def forest_states(self, token_ids_N: Tensor, depths_N: Tensor) -> Tensor:
        """Final hidden states of a forest's nodes, shape (N, channels); inside `attention.forest_layout` only."""
        if self.virtual is not None:
            raise ModelError("virtual tokens stand before every row, and a forest has no such place")
        # A mask of four dimensions is taken as it is, so that none of the size of the sequence squared is made;
        # who sees whom follows from the layout.
        unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=token_ids_N.device)
        output = self.backbone(
            input_ids=token_ids_N[None], position_ids=depths_N[None], attention_mask=unread, use_cache=False
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def head(self) -> Head:
        """The head with its present weights (they may be training, or be tied to the embeddings)."""
        weight = self.lm_head.weight
        bias = getattr(self.lm_head, "bias", None)
        assert isinstance(weight, Tensor)
        return Head(weight, bias, self.scale, self.softcap)


def causal_parts(model: Any) -> CausalParts:
    """Split a causal model, and prove the split on it.

    Raises ModelError where head(backbone(x)) is not what the model answers: such an architecture does
    something to its logits that this file does not know, and training it would be wrong without a word.
    """
    parts = split_causal(model)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    _prove(model if parts.virtual is not None else base, parts)
    return parts


def split_causal(model: Any) -> CausalParts:
    """The split alone, for a model whose weights are not there to prove it on. Raises ModelError."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone = getattr(base, base.base_model_prefix, None)
    lm_head = base.get_output_embeddings()
    if backbone is None or lm_head is None or backbone is base:
        raise ModelError(f"{type(base).__name__}: expected a causal language model with a head, found none")
    config = base.config
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    if scaling := getattr(config, "logits_scaling", None):
        scale /= float(scaling)
    softcap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
    return CausalParts(backbone, lm_head, scale, softcap, virtual_tokens(model))


def one_dtype(model: Any, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Where trained layers are float32 above frozen bfloat16 ones, products need autocast, as in training."""
    if sum(dtype.is_floating_point for dtype in compute_dtypes(model)) == 1:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@torch.no_grad()
def _prove(model: Any, parts: CausalParts) -> None:
    training = model.training
    model.eval()
    try:
        device = parts.head().weight_VC.device
        count = min(8, int(model.config.vocab_size))
        token_ids_BT = torch.arange(count, device=device)[None]
        with one_dtype(model, device):
            # Virtual tokens of a prompt have logits too; those of a prefix have none.
            expected = model(input_ids=token_ids_BT, use_cache=False).logits[0, -count:]
            got = parts.head().logits(parts.hidden_states(token_ids_BT)[0])
        expected = expected.to(got.dtype)
    finally:
        model.train(training)
    # Both sides run the same kernels, so all that may differ is one rounding of the model's own dtype.
    tolerance = 4 * coarsest_rounding(model) * float(expected.abs().max() + 1)
    worst = float((got - expected).abs().max())
    if not worst <= tolerance:
        raise ModelError(
            f"{type(model).__name__} changes its logits in a way Luthier does not know: head(backbone(x)) "
            f"differs from the model's own logits by {worst:.3g} (at most {tolerance:.3g} expected); "
            "this architecture cannot be trained yet"
        )
