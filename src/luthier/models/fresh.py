"""A fresh Llama architecture with random weights, for training from scratch.

Llama, because every runtime that a model may later move to knows it. This file knows nothing of training.
"""

from typing import Any, Protocol


class Shape(Protocol):
    """The sizes of a new model (see training.recipe.NewModelConfig)."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    context_length: int
    rope_theta: float
    tie_embeddings: bool


def new_model(shape: Shape, tokenizer: Any) -> Any:
    """A `LlamaForCausalLM` in float32 for `tokenizer`; weights follow torch's random state.

    Output projections into the residual stream start smaller by sqrt(2 * layers) (GPT-2, Radford et al. 2019).
    """
    import torch
    from transformers import LlamaForCausalLM

    config = config_of_shape(
        shape,
        len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.mul_((2 * shape.num_layers) ** -0.5)
    return model


def config_of_shape(shape: Shape, vocab_size: int, **ids: Any) -> Any:
    """The transformers config of a new model; `ids`: the tokenizer's special ones."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.context_length,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        **ids,
    )
