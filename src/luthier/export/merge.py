"""Merge an adapter into its base and write a plain model folder that any runtime can load.

The merge is done on the full-precision base, in float32, and cast once at the end; the folder holds the
weights, the tokenizer with the training template, and a generation config whose end of text is the template's
end of turn, so that the model stops where it learnt to. This file knows nothing of runs or certificates.
"""

import json
from pathlib import Path
from typing import Any

import torch

from luthier.chat.render import Renderer
from luthier.errors import ExportError
from luthier.files import atomic_directory
from luthier.models.load import Source, attach_adapter, find_model, load_tokenizer, load_weights, stored_dtype
from luthier.models.methods.bottleneck import KIND

_UNMERGEABLE = {
    KIND: "bottleneck adapters are small networks of their own behind each sublayer",
    "PROMPT_TUNING": "a trained prompt is virtual tokens before every sequence",
    "PREFIX_TUNING": "a trained prefix is keys and values before every sequence",
}


def merge(ref: str, out: Path, *, dtype: str = "auto", replace: bool = False) -> Source:
    """Write the model `ref` (an adapter or a whole model) to the folder `out` as plain weights.

    `dtype`: auto (as the base is stored), float32 or bfloat16. Raises ExportError where `out` exists and is
    not empty (unless `replace`), or where the adapter changes nothing; ModelError where `ref` cannot be loaded.
    """
    if not replace and out.exists() and any(out.iterdir()):
        raise ExportError(f"{out}: the folder exists and is not empty; choose another one")
    source = find_model(ref)
    stored = stored_dtype(source.base)
    target = stored if dtype == "auto" else {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    model = load_weights(source.base, torch.float32, rope_scaling=source.rope_scaling)
    if source.adapter is not None:
        model = _merged(model, source.adapter)
    tokenizer = load_tokenizer(source.tokenizer_place)
    write_model_folder(model.to(target), tokenizer, out)
    return find_model(str(out))


def _merged(model: Any, adapter: Path) -> Any:
    refuse_unmergeable(adapter)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    merged = attach_adapter(model, adapter).merge_and_unload(safe_merge=True)
    if all(torch.equal(before[name], p) for name, p in merged.named_parameters() if name in before):
        raise ExportError(
            f"{adapter}: merging it changed no weight: the adapter is empty, or its keys do not fit"
        )
    return merged


def refuse_unmergeable(adapter: Path) -> None:
    """Raises ExportError for an adapter that no plain weights can stand for."""
    kind = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("peft_type")
    if kind in _UNMERGEABLE:
        raise ExportError(
            f"{adapter}: {_UNMERGEABLE[kind]}, so it cannot be merged into plain weights. Chat and evaluation take the "
            "adapter as it is; for a folder that every runtime loads, train with lora, dora, pissa, ia3 or full"
        )


def write_model_folder(model: Any, tokenizer: Any, out: Path) -> None:
    """Weights as safetensors, tokenizer, template and generation config; whole or not at all."""
    from transformers import GenerationConfig

    stop_ids = Renderer(tokenizer).stop_ids
    model.generation_config = GenerationConfig(
        eos_token_id=list(stop_ids), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    with atomic_directory(out) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
