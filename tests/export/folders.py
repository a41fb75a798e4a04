"""Tiny random model folders with weights large enough for logits to mean something."""

from pathlib import Path
from typing import Any

from tests.toy import byte_tokenizer, tiny_model

VOCAB_SIZE = 520


def model_folder(
    folder: Path,
    architecture: str = "llama",
    *,
    tokenizer: Any = None,
    seed: int = 0,
    scale: float = 0.3,
    **config: Any,
) -> tuple[Path, Any]:
    """The folder and the model that was written to it; `scale` of its weights; `config` overrides the toy's."""
    import torch
    from transformers import AutoModelForCausalLM

    model = tiny_model(architecture, vocab_size=VOCAB_SIZE)
    if config:
        for key, value in config.items():
            setattr(model.config, key, value)
        model = AutoModelForCausalLM.from_config(model.config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * scale if parameter.dim() > 1 else parameter + noise * 0.1)
    model.save_pretrained(folder)
    (tokenizer or byte_tokenizer()).save_pretrained(folder)
    return folder, model


def logits_of(model: Any, ids: list[int]) -> Any:
    """(positions, vocabulary), by transformers."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].float().numpy()
