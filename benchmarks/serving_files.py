"""The models that serving is measured with: a base, its GGUF file, and adapters in both forms, random and on the disk.

`smollm-135m`: the shape of SmolLM-135M (30 layers, 576 wide, 49,152 tokens) with random weights that never end an
answer; `luthier-nano`: the model inside the package. What a random model says means nothing, and
costs what any answer costs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHAPES = ("smollm-135m", "luthier-nano")
RANK = 8
VOCABULARY = 49_152


@dataclass(frozen=True)
class Files:
    """base: a folder; gguf: the same as a file; adapters: PEFT folders; loras: the same as GGUF."""

    base: Path
    gguf: Path
    adapters: tuple[Path, ...]
    loras: tuple[Path, ...]


def make(folder: Path, shape: str, num_adapters: int, quantization: str = "f32") -> Files:
    """Write what is not there yet."""
    from luthier.export.gguf.lora import write_gguf_lora
    from luthier.export.gguf.write import write_gguf

    base, gguf = folder / shape, folder / f"{shape}.{quantization}.gguf"
    if not base.exists():
        _write_base(base, shape)
    if not gguf.exists():
        write_gguf(base, gguf, quantization)
    adapters = tuple(folder / f"{shape}-adapter{i}" for i in range(num_adapters))
    missing = [(seed, path) for seed, path in enumerate(adapters) if not path.exists()]
    if missing:
        _write_adapters(base, missing)
    loras = tuple(path.with_name(f"{path.name}.gguf") for path in adapters)
    for adapter, lora in zip(adapters, loras, strict=True):
        if not lora.exists():
            write_gguf_lora(adapter, base, lora)
    return Files(base, gguf, adapters, loras)


def _write_base(folder: Path, shape: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from luthier.models.embedded import DEFAULT_MODEL, EMBEDDED
    from luthier.models.load import load_tokenizer

    embedded = EMBEDDED[DEFAULT_MODEL].folder
    tokenizer = load_tokenizer(str(embedded))
    if shape == "luthier-nano":
        model = AutoModelForCausalLM.from_pretrained(embedded)
    else:
        tokenizer = _wider(tokenizer)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
            max_position_embeddings=1024,
            bos_token_id=0,
            eos_token_id=0,
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():  # a logit of 0 never wins, so no answer ends early
            model.get_input_embeddings().weight[tokenizer.all_special_ids] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _wider(tokenizer: Any) -> Any:
    """The same tokenizer with words that no text is split into, so that every id of the model has a text."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    known = len(tokenizer)
    backend["model"]["vocab"] |= {f"Ġw{place}": place for place in range(known, VOCABULARY)}
    wider = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)),
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        clean_up_tokenization_spaces=False,
    )
    wider.chat_template = tokenizer.chat_template
    return wider


def _write_adapters(base: Path, missing: list[tuple[int, Path]]) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.peft_config["default"].base_model_name_or_path = str(base)
    for seed, path in missing:
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.02)
        model.save_pretrained(path, save_embedding_layers=False)


def fill_store(folder: Path, files: Files) -> list[str]:
    """Keep the adapters as specialists in production; their names."""
    from luthier.pipeline.identity import model_hash
    from luthier.registry.specialists import SpecialistStore

    store = SpecialistStore(folder)
    base = {"name": str(files.base), "hash": model_hash(str(files.base))}
    names = []
    for place, adapter in enumerate(files.adapters):
        parts = {f"model/{path.name}": path for path in adapter.iterdir() if path.is_file()}
        manifest = {"form": "adapter", "base": base, "system_prompt": f"You are specialist {place}."}
        manifest["sampling"] = {"temperature": 0.0, "max_new_tokens": 256}
        found, _ = store.commit(f"s{place}", parts, manifest)
        store.promote(found.ref, force=True, reason="it is measured, not trusted")
        names.append(f"s{place}")
    return names
