"""Virtual tokens before every sequence: prompt tuning and prefix tuning, by PEFT and in its folder format.

prompt: trained embeddings before the first token (Lester et al. 2021, arXiv:2104.08691), drawn from the vocabulary.
prefix: trained keys and values in every layer (Li and Liang 2021, arXiv:2101.00190).
They change what a sequence is, so the backbone alone is not the model: `VirtualTokens` puts them there (see
models.forward). This file knows nothing of data or losses.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from luthier.errors import ConfigError
from luthier.models.methods.low_rank import attach


class PromptLike(Protocol):
    """How many virtual tokens (see training.method_config.PromptMethod)."""

    @property
    def num_tokens(self) -> int: ...


class PrefixLike(PromptLike, Protocol):
    """`projection_size`: the width of a network that makes the prefix while it trains; None: the prefix itself."""

    @property
    def projection_size(self) -> int | None: ...


def apply_prompt(
    model: Any, method: PromptLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Freeze the base and train embeddings before the sequence, which start as random words of the vocabulary."""
    from peft import PromptTuningConfig

    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=method.num_tokens,
        prompt_tuning_init="SAMPLE_VOCAB",
    )
    return attach(model, config, base_name, master_dtype)


def apply_prefix(
    model: Any, method: PrefixLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Freeze the base and train keys and values of every layer. Raises ConfigError where the prefix would be lost."""
    from peft import PrefixTuningConfig

    if _computes_again(model):
        raise ConfigError(_NO_CHECKPOINTING)
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=method.num_tokens,
        prefix_projection=method.projection_size is not None,
        encoder_hidden_size=method.projection_size,
    )
    return attach(model, config, base_name, master_dtype)


def _computes_again(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


_NO_CHECKPOINTING = (
    "method prefix cannot train with train.gradient_checkpointing: layers that are computed again take no keys "
    "and values from before, so the prefix would be lost without a word"
)


@dataclass(frozen=True)
class VirtualTokens:
    """What a PEFT model of virtual tokens puts before a sequence, for a backbone that is called without PEFT."""

    peft_model: Any

    @property
    def count(self) -> int:
        return int(self.peft_model.active_peft_config.num_virtual_tokens)

    def hidden_states(self, backbone: nn.Module, token_ids_BT: Tensor) -> Tensor:
        """Final hidden states of the real tokens, shape (B, T, channels): those of virtual ones are left out.

        Rows are right-padded: causal attention needs no mask, and every real token sees all virtual ones.
        """
        is_prefix = self.peft_model.active_peft_config.peft_type == "PREFIX_TUNING"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            past = self.peft_model.get_prompt(len(token_ids_BT))
        if is_prefix:
            if _computes_again(backbone):
                raise ConfigError(_NO_CHECKPOINTING)
            output = backbone(input_ids=token_ids_BT, past_key_values=past, use_cache=True)
            hidden: Tensor = output.last_hidden_state
            return hidden
        embedded_BTC = self.peft_model.get_base_model().get_input_embeddings()(token_ids_BT)
        joined = torch.cat([past.to(embedded_BTC.dtype), embedded_BTC], dim=1)
        hidden = backbone(inputs_embeds=joined, use_cache=False).last_hidden_state
        return hidden[:, self.count :]


def virtual_tokens(model: Any) -> VirtualTokens | None:
    """The virtual tokens of a PEFT model that has some; None for every other model."""
    config = getattr(model, "active_peft_config", None) if hasattr(model, "peft_config") else None
    return VirtualTokens(model) if config is not None and config.is_prompt_learning else None
