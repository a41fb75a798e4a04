"""IA3: a trained factor for each channel of keys, values and the feed-forward part (Liu et al. 2022, arXiv:2205.05638).

By PEFT and in its folder format. All factors start at 1, so nothing is drawn at random. Knows nothing of data.
"""

from typing import Any, Protocol

import torch

from luthier.errors import ConfigError
from luthier.models.methods.low_rank import attach, check_targets, is_transposed

# Outputs of these are scaled (keys and values; GPT-2's and Phi-3's make queries too) ...
_ATTENTION = ("k_proj", "v_proj", "c_attn", "qkv_proj", "query_key_value")
# ... and the inputs of these, the last product of the feed-forward part.
_FEEDFORWARD = ("down_proj", "mlp.c_proj", "fc2", "dense_4h_to_h")


class Ia3Like(Protocol):
    """Where the factors stand (see training.method_config.Ia3Method); None: found by the names of the modules."""

    @property
    def targets(self) -> list[str] | None: ...
    @property
    def feedforward(self) -> list[str] | None: ...


def apply_ia3(model: Any, method: Ia3Like, base_name: str, master_dtype: torch.dtype = torch.float32) -> Any:
    """Freeze the base and scale channels. Raises ConfigError where no such module is."""
    from peft import IA3Config

    feedforward = _found(model, _FEEDFORWARD) if method.feedforward is None else method.feedforward
    targets = _found(model, _ATTENTION) + feedforward if method.targets is None else method.targets
    check_targets(model, targets)
    if strays := sorted(set(feedforward) - set(targets)):
        raise ConfigError(f"method.feedforward: {strays[0]!r} is not among method.targets")
    if not targets:
        raise ConfigError(
            f"method ia3: {type(model).__name__} has no module with a name that is known here; name them in "
            "method.targets and method.feedforward"
        )
    config = IA3Config(
        task_type="CAUSAL_LM",
        target_modules=targets,
        feedforward_modules=feedforward,
        fan_in_fan_out=is_transposed(model),
    )
    return attach(model, config, base_name, master_dtype)


def _found(model: Any, candidates: tuple[str, ...]) -> list[str]:
    names = [name for name, _ in model.named_modules()]
    return [c for c in candidates if any(name.endswith(f".{c}") for name in names)]
