"""What ships: the model, and everything that has to travel with it. And the names of the forms it can take.

Knows nothing of runs and stores: whoever knows them fills it in.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import ConfigError, ExportError
from luthier.models.load import Source

_GGUF_TYPES = re.compile(r"(f32|f16|bf16|q[2-8]_[0-9k](_[sml])?|iq4_(nl|xs))")
_ONNX = (
    "onnx is not written: no exporter that was tried keeps the chat template, the stop ids and the cache of keys and "
    "values in one graph that could be certified. Take hf, and convert it with optimum"
)
KINDS: Mapping[str, str] = {
    "hf": "merged weights as transformers loads them",
    "peft": "the adapter alone",
    "gguf": "one file for llama.cpp (gguf:TYPE, such as gguf:q4_k_m; default f16)",
    "gguf-lora": "the adapter alone as a GGUF file",
    "ollama": "a folder for ollama create (ollama:TYPE of the GGUF inside; ollama:hf with safetensors; default f16)",
    "mlx": "a folder for mlx-lm (mlx:4, mlx:8 bits; default 16)",
    "vllm": "the command line that serves it with vLLM",
}


@dataclass(frozen=True)
class Shipment:
    """A model on its way out. `sampling`: temperature, max_new_tokens, ...; `hashes`: of base, adapter and data."""

    name: str
    source: Source
    system_prompt: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    trained_on: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FormName:
    """`kind` or `kind:variant`."""

    kind: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.variant}" if self.variant else self.kind

    @property
    def folder(self) -> str:
        """Where it stands among the others."""
        return f"{self.kind}-{self.variant}" if self.variant else self.kind

    @property
    def bits(self) -> str:
        """A key of the certificate's tolerances."""
        if self.kind in ("gguf-lora",):
            return "float32 adapter in GGUF"
        found = re.match(r"(?:i?q)(\d)", self.variant) or (
            re.match(r"(\d+)$", self.variant) if self.kind == "mlx" else None
        )
        if found and int(found[1]) <= 8:
            bits = max(2, int(found[1]))
            return "8 bit" if bits > 6 else f"{bits} bit"
        return {"f32": "float32", "bf16": "bfloat16"}.get(self.variant, "float16")


def parse_form(text: str) -> FormName:
    """Read `gguf:q4_k_m`. Raises ConfigError for a form that does not exist, ExportError for onnx."""
    kind, _, variant = text.strip().lower().partition(":")
    if kind == "onnx":
        raise ExportError(_ONNX)
    if kind not in KINDS:
        raise ConfigError(f"--to {text}: expected one of {', '.join(KINDS)}")
    if kind == "gguf" or kind == "ollama":
        variant = variant or "f16"
    elif kind == "mlx":
        variant = variant or "16"
    good = {
        "gguf": bool(_GGUF_TYPES.fullmatch(variant)),
        "ollama": variant == "hf" or bool(_GGUF_TYPES.fullmatch(variant)),
        "mlx": variant in ("4", "8", "16"),
    }.get(kind, not variant)
    if not good:
        raise ConfigError(f"--to {text}: {kind} is {KINDS[kind]}; got {variant!r}")
    return FormName(kind, variant)
