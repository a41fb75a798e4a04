"""From a loaded model to what computes its answers: the shared step where it is proven right, one by one elsewhere.

Whether the rows of an architecture can share a step is not looked up: its own answers are compared. This file knows
nothing of requests and threads.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from luthier.errors import LuthierError, ServingError
from luthier.models.forward import CausalParts, causal_parts
from luthier.models.generate import Sampling
from luthier.models.load import LoadedModel
from luthier.models.quantized import coarsest_rounding
from luthier.serving.engines.engine import Ask
from luthier.serving.engines.torch.attention import Measuring, attending, use_rows_attention
from luthier.serving.engines.torch.batched import Batched, Limits
from luthier.serving.engines.torch.cache import CacheShape
from luthier.serving.engines.torch.low_rank import Stacks
from luthier.serving.engines.torch.norms import fuse_norms
from luthier.serving.engines.torch.one_by_one import OneByOne
from luthier.serving.engines.torch.overlay import Overlay
from luthier.serving.engines.torch.prefixes import as_ids
from luthier.serving.engines.torch.row import Row, Specialist, new_row
from luthier.serving.engines.torch.sites import Laid, Sites, plan, planned

_UNSTATED_CONTEXT = 32768  # tokens, for a model that does not say how many it takes


def default_limits(
    device: torch.device, max_batch: int, max_queue: int, kv_bytes: int | None, prefix_bytes: int | None
) -> Limits:
    """A quarter of the free memory for answers that run, a sixteenth for beginnings, where nothing is stated."""
    if max_batch < 1 or max_queue < 0:
        raise ServingError(f"expected max_batch >= 1 and max_queue >= 0, got {max_batch} and {max_queue}")
    on_cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_cuda else psutil.virtual_memory().available
    return Limits(
        max_batch,
        max_queue,
        kv_bytes if kv_bytes is not None else free // 4,
        prefix_bytes if prefix_bytes is not None else free // 16,
        *((512, 8192) if on_cuda else ()),
    )


@dataclass
class Built:
    """A base that can answer. why_alone: why its rows do not share a step; None where they do."""

    model: Any
    computation: Batched | OneByOne
    sites: Sites
    why_alone: str | None
    context_length: int
    vocabulary: int
    adapter_dtype: torch.dtype
    device: torch.device
    parts: CausalParts | None

    @torch.inference_mode()
    def embed(self, specialist: Specialist, token_ids: tuple[int, ...]) -> NDArray[np.float32]:
        """(channels,): see Embeds.embed. Raises ServingError."""
        if self.parts is None:
            raise ServingError("this base gives no embeddings: its hidden states cannot be had")
        if specialist.num_virtual:
            raise ServingError(f"{specialist.name} gives no embeddings: it puts virtual tokens before a text")
        with planned(plan([specialist.laid] * len(token_ids), 0)):
            hidden_BTC = self.parts.hidden_states(torch.tensor([token_ids], device=self.device))
        mean_C: NDArray[np.float32] = hidden_BTC[0].mean(0, dtype=torch.float32).cpu().numpy()
        return mean_C

    @torch.inference_mode()
    def lay(self, overlay: Overlay) -> Laid:
        """Make an adapter ready, and try it. Raises ServingError."""
        if overlay.num_virtual and isinstance(self.computation, OneByOne):
            raise ServingError(
                f"virtual tokens need rows that share a step, and this base has none: {self.why_alone}"
            )
        if overlay.past and isinstance(self.computation, Batched):
            self.computation.check_past(overlay)
        laid = self.sites.lay(overlay)
        try:
            with planned(plan([laid, laid], 0)):
                self.model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=self.device))
        except ServingError:
            self.take_off(laid)
            raise
        return laid

    def take_off(self, laid: Laid) -> None:
        self.sites.take_off(laid)
        if isinstance(self.computation, Batched):
            self.computation.forget(laid)


def build(loaded: LoadedModel, limits: Limits) -> Built:
    """Raises ServingError for a base with an adapter over it."""
    model = loaded.model
    if hasattr(model, "peft_config") or loaded.source.adapter is not None:
        raise ServingError(
            f"{loaded.name}: is an adapter over {loaded.source.base}; serve that one and mount this one"
        )
    model.eval().requires_grad_(False)
    fuse_norms(model)
    found, why_alone = _shared_step(model, loaded.device, limits)
    # PEFT computes adapters of a bfloat16 base in float32.
    adapter_dtype = torch.promote_types(loaded.dtype, torch.float32)
    return Built(
        model,
        found if found is not None else OneByOne(model, loaded.device),
        Sites(model, Stacks(adapter_dtype, loaded.device)),
        why_alone,
        loaded.context_length or _UNSTATED_CONTEXT,
        int(model.config.get_text_config().vocab_size),
        adapter_dtype,
        loaded.device,
        _parts(model),
    )


def _parts(model: Any) -> CausalParts | None:
    try:
        return causal_parts(model)
    except LuthierError:
        return None


def _shared_step(model: Any, device: torch.device, limits: Limits) -> tuple[Batched | None, str | None]:
    """A step for all rows, or why there is none."""
    if any(getattr(module, "rope_type", None) in ("dynamic", "longrope") for module in model.modules()):
        return None, "its positions depend on the length of the whole sequence"
    implementation = model.config._attn_implementation
    try:
        parts = causal_parts(model)
        use_rows_attention(model)
        shape = _measure(model, parts, device)
        if shape is None:
            raise ServingError("some of its layers keep something else than keys and values")
        embed = model.get_input_embeddings()
        small = dataclasses.replace(limits, prefill_tokens=4, alone_tokens=6)
        _prove(model, Batched(parts, embed, shape, small))
        return Batched(parts, embed, shape, limits), None
    except Exception as error:  # whatever an architecture does instead: it answers in its own way, one by one
        model.set_attn_implementation(implementation)
        kind = "" if isinstance(error, LuthierError) else f"{type(error).__name__}: "
        return None, f"{kind}{error}"


@torch.inference_mode()
def _measure(model: Any, parts: CausalParts, device: torch.device) -> CacheShape | None:
    measuring = Measuring()
    ids_NT = torch.arange(3, device=device)[None]
    with attending(measuring):
        hidden = parts.backbone(input_ids=ids_NT, use_cache=False).last_hidden_state
    if len(measuring.shapes) != int(model.config.get_text_config().num_hidden_layers):
        return None
    return measuring.cache_shape(hidden.dtype, device)


@torch.inference_mode()
def _prove(model: Any, batched: Batched) -> None:
    """Three rows of different lengths join, answer and leave; each logit is compared with the model's own."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    lengths = (9, 3, 5)
    rows = [_row([(7 * length + 3 * place) % vocabulary for place in range(length)]) for length in lengths]
    for row in rows:
        batched.admit(row)
    tolerance = max(16 * coarsest_rounding(model), 1e-4)
    for step in range(6):
        answered, logits_RV = batched.step()
        for row, got_V in zip(answered, logits_RV, strict=True):
            ids_BT = torch.tensor([row.ids], device=got_V.device)
            expected_V = model(input_ids=ids_BT, use_cache=False).logits[0, -1].to(got_V.dtype)
            worst, largest = float((got_V - expected_V).abs().max()), float(expected_V.abs().max() + 1)
            if not worst <= tolerance * largest:
                raise ServingError(
                    f"rows that share a step differ from the model's own answers by {worst:.3g}"
                )
            row.accept(int(expected_V.argmax()))
        if step == 3:
            batched.remove(rows[1])


def _row(ids: list[int]) -> Row:
    base = Specialist(None, None, as_ids(()))
    return new_row(Ask(None, tuple(ids), Sampling(max_new_tokens=99), frozenset()), base, 4096)
