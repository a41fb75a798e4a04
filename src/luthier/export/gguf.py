"""A model folder becomes one GGUF file: planned first, then written tensor by tensor.

Weights are read from the safetensors one at a time, so that a model larger than memory can be written.
This file brings architecture, tokenizer and file together and knows nothing of runs, adapters or certificates.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ConfigError, ExportError
from luthier.export.gguf_architecture import (
    Architecture,
    computed_tensors,
    find_architecture,
    hyperparameters,
    limits,
    num_heads_of,
    operation_of,
    reorder_heads,
)
from luthier.export.gguf_file import (
    PYTHON_TYPES,
    TensorPlan,
    gguf_package,
    num_bytes_of,
    type_of,
    write_file,
)
from luthier.export.gguf_probe import keys_tokeniser
from luthier.export.gguf_tokenizer import gguf_tokenizer
from luthier.models.load import load_config, load_tokenizer

_FILE_TYPES = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "bf16": "MOSTLY_BF16",
    **{f"q{bits}_0": f"MOSTLY_Q{bits}_0" for bits in (8, 5, 4)},
}


@dataclass(frozen=True)
class GgufWritten:
    """A file that was written. `notes`: what its user must know, in sentences."""

    path: Path
    num_bytes: int
    num_tensors: int
    pre_tokenizer: str
    notes: list[str] = field(default_factory=list)


def plan_gguf(folder: str | Path, quantization: str = "f16") -> list[TensorPlan]:
    """Every tensor of the file, what is done to it, and its bytes; nothing but headers is read.

    `quantization`: f32, f16, bf16, q8_0, q5_0 or q4_0. Raises ConfigError for another one, ExportError for an
    architecture that is not covered or weights that it does not know.
    """
    return _Weights(Path(folder)).plan(_checked(quantization))


def write_gguf(folder: str | Path, out: Path, quantization: str = "f16") -> GgufWritten:
    """Write the model folder as the GGUF file `out`, as `plan_gguf` says. Raises as it does."""
    weights = _Weights(Path(folder))
    plans = weights.plan(_checked(quantization))
    gguf = gguf_package()
    tokenizer = gguf_tokenizer(load_tokenizer(str(folder)), weights.vocab_size, keys_tokeniser())
    keys: dict[str, Any] = {
        "general.type": "model",
        "general.name": Path(folder).name,
        "general.file_type": int(gguf.LlamaFileType[_FILE_TYPES[quantization]]),
        "general.quantization_version": int(gguf.GGML_QUANT_VERSION),
        **hyperparameters(weights.config),
        **tokenizer.keys,
    }
    write_file(out, weights.architecture.name, keys, plans, weights.read)
    return GgufWritten(
        out,
        out.stat().st_size,
        len(plans),
        str(tokenizer.keys["tokenizer.ggml.pre"]),
        [*limits(weights.config), *tokenizer.notes],
    )


def _checked(quantization: str) -> str:
    if quantization not in PYTHON_TYPES:
        raise ConfigError(f"GGUF type: expected one of {', '.join(PYTHON_TYPES)}; got {quantization!r}")
    return quantization


class _Weights:
    """The safetensors of a model folder under llama.cpp's names."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(str(folder))
        self.architecture: Architecture = find_architecture(self.config)
        self._computed = computed_tensors(self.config)
        self._file_of: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._read_headers(folder)

    @property
    def vocab_size(self) -> int:
        """Rows of the embeddings."""
        return self._shapes["model.embed_tokens.weight"][0]

    def plan(self, quantization: str) -> list[TensorPlan]:
        plans = []
        for source, name in self._names().items():
            operation = operation_of(self.architecture, source)
            shape = self._shapes[source]
            kind = type_of(name, shape, quantization)
            plans.append(TensorPlan(name, source, operation, shape, kind, num_bytes_of(shape, kind)))
        for name, values in self._computed.items():
            plans.append(TensorPlan(name, None, "computed", values.shape, "f32", values.nbytes))
        return plans

    def read(self, plan: TensorPlan) -> NDArray[Any]:
        """The values of one tensor, float32, after its operation."""
        from safetensors import safe_open

        if plan.source is None:
            return self._computed[plan.name]
        with safe_open(self._file_of[plan.source], framework="pt") as file:
            values: NDArray[Any] = file.get_tensor(plan.source).float().numpy()
        if plan.operation == "rows reordered by head":
            return reorder_heads(values, num_heads_of(self.config, plan.source))
        return values + np.float32(1) if plan.operation == "plus one" else values

    def _read_headers(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open

        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118  (not a dict)
                        self._file_of[name] = path
                        self._shapes[name] = tuple(file.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise ExportError(f"{path}: cannot read it as safetensors: {error}") from error
        if "model.embed_tokens.weight" not in self._shapes:
            raise ExportError(f"{folder}: expected the safetensors of a causal model, with its embeddings")

    def _names(self) -> dict[str, str]:
        """llama.cpp's name of every stored tensor, the embeddings first."""
        gguf = gguf_package()
        arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == self.architecture.name)
        table = gguf.get_tensor_name_map(arch, self.config.num_hidden_layers)
        names, unknown = {}, []
        for source in sorted(self._shapes, key=_natural):
            if source.endswith("rotary_emb.inv_freq") or (
                source == "lm_head.weight" and self.config.tie_word_embeddings
            ):
                continue
            found = table.get_name(source, try_suffixes=(".weight", ".bias"))
            if found is None:
                unknown.append(source)
            else:
                names[source] = found
        if unknown:
            raise ExportError(
                f"GGUF: {len(unknown)} tensors have no name in llama.cpp's {self.architecture.name}, the first is "
                f"{unknown[0]}; is this a merged model folder?"
            )
        return names


def _natural(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """Layer 2 before layer 10; what belongs to no layer first."""
    parts = name.split(".")
    return "layers" in parts, [(int(part) if part.isdigit() else -1, part) for part in parts]
