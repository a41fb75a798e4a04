"""Tiny bases with adapters on the disk, for what leaves the house."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from luthier.export.merge import generation_config
from tests.toy import byte_tokenizer, tiny_model


def base_folder(
    folder: Path,
    architecture: str = "llama",
    *,
    family: str = "chatml",
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """A tiny base with its tokenizer, in a folder."""
    tokenizer = byte_tokenizer(family)
    model = tiny_model(architecture, vocab_size=len(tokenizer))
    if config:
        changed = type(model.config)(**{**model.config.to_dict(), **config})
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(changed)
    with torch.no_grad():  # so that a token's logit stands out and biases count
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif "norm" not in name:
                parameter.mul_(4)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    generation_config(tokenizer).save_pretrained(folder)
    return folder


def lora_config(**changes: Any) -> LoraConfig:
    return LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": "all-linear", **changes}
    )


def ia3_config(targets: list[str], feedforward: list[str], **changes: Any) -> IA3Config:
    return IA3Config(
        task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=feedforward, **changes
    )


def adapter_folder(
    base: Path, folder: Path, config: Any, *, seed: int = 1, std: float = 0.3, **tokenizer: Any
) -> Path:
    """A PEFT adapter over `base` whose every trained tensor was moved at random."""
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * std)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    byte_tokenizer(**tokenizer).save_pretrained(folder)
    return folder


def peft_merged(base: Path, adapter: Path) -> Mapping[str, torch.Tensor]:
    """What PEFT makes of it, in float32."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter
    )
    state: Mapping[str, torch.Tensor] = model.merge_and_unload().state_dict()
    return state


def teach_to_stop(base: Path, adapter: Path, num_tokens: int = 12) -> None:
    """Let the end of a turn win where the adapted model would say its commonest word: answers then end."""
    from collections import Counter

    from safetensors.torch import load_file, save_file

    from luthier.export.certificate.probes import built_in
    from luthier.models.generate import Sampling, generate
    from luthier.models.load import load_model

    loaded = load_model(str(adapter), dtype="float32", device="cpu")
    prompts = [loaded.renderer.prompt(probe.messages, probe.tools) for probe in built_in(loaded.renderer)[0]]
    answers = generate(loaded, prompts, Sampling(max_new_tokens=num_tokens))
    said = Counter(token for answer in answers for token in set(answer[2:]))
    path = base / "model.safetensors"
    tensors = load_file(path)
    head = tensors["lm_head.weight"]
    for token, _ in said.most_common(1):
        head[loaded.renderer.end_of_turn_id] = head[token] * 1.05
    save_file(tensors, path, {"format": "pt"})
