"""AdamW by bitsandbytes: its state in 8 bits, or in pages that leave the GPU when it is full.

8 bits: a number for each weight and moment, a scale for each 256 of them (Dettmers et al. 2022, arXiv:2110.02861);
tensors of fewer than 4096 numbers keep 32 bits. Knows nothing of models or recipes.
"""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from luthier.errors import ConfigError
from luthier.models.quantized import need_bitsandbytes


def small_state_adamw(kind: str, groups: list[dict[str, Any]], **numbers: Any) -> Optimizer:
    """`adamw_8bit` or `paged_adamw` over the parameters of `groups`; `numbers` are lr, betas and eps.

    Raises ConfigError without bitsandbytes, for weights in float64, and for pages where there is no CUDA device.
    """
    need_bitsandbytes(f"optim.name {kind}")
    weights: list[nn.Parameter] = [weight for group in groups for weight in group["params"]]
    if any(weight.itemsize > 4 for weight in weights):
        raise ConfigError(f"optim.name: {kind} takes float32 at most; use adamw, or another train.dtype")
    if kind == "paged_adamw" and any(weight.device.type != "cuda" for weight in weights):
        raise ConfigError(
            "optim.name: paged_adamw moves its state between GPU and main memory, and this run is on "
            f"{weights[0].device.type}, where there is nothing to move; use adamw or adamw_8bit"
        )
    optimizer: Optimizer = _flat(_class_of(kind))(groups, **numbers)
    return optimizer


def _class_of(kind: str) -> type:
    from bitsandbytes import optim

    chosen: type = {"adamw_8bit": optim.AdamW8bit, "paged_adamw": optim.PagedAdamW}[kind]
    return chosen


def _flat(kind: type) -> Any:
    """`kind` with a state like that of any optimizer: bitsandbytes hides its tensors from FSDP one level deeper."""

    def state_dict(self: Any) -> dict[str, Any]:
        state: dict[str, Any] = kind.state_dict(self)  # type: ignore[attr-defined]
        for entries in state["state"].values():
            hidden = entries.pop(self._FSDP_WRAPPED_QUANT_STATE_KEY, {})
            # Every weight has the same two tables of 256 numbers, and a file holds no tensor twice.
            entries.update((key, value.clone() if "qmap" in key else value) for key, value in hidden.items())
        return state

    return type(kind.__name__, (kind,), {"state_dict": state_dict})
