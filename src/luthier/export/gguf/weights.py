"""The safetensors of a model folder under llama.cpp's names, read some rows at a time.

Knows which tensors become which, and nothing of tokenizers or of how a file is laid out.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from luthier.errors import ExportError
from luthier.export.gguf.architecture import (
    Architecture,
    computed_tensors,
    find_architecture,
    num_heads_of,
    operation_of,
    reorder_heads,
)
from luthier.export.gguf.file import TensorPlan, num_bytes_of, type_of
from luthier.models.file_headers import check_safetensors
from luthier.models.load import load_config

_PIECE_VALUES = 1 << 24
"""Values of one piece: 64 MiB in float32."""

_EXPERT = re.compile(r"\.experts\.(\d+)\.")


class Weights:
    """Raises ExportError for an architecture that is not covered, and for a folder that holds no causal model."""

    def __init__(self, folder: Path) -> None:
        self.config = load_config(str(folder))
        self.architecture: Architecture = find_architecture(self.config)
        self._computed = computed_tensors(self.config)
        self._file_of: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: set[str] = set()
        self._read_headers(folder)

    @property
    def vocab_size(self) -> int:
        """Rows of the embeddings."""
        return self._shapes["model.embed_tokens.weight"][0]

    @property
    def stored_type(self) -> str:
        """f16 or bf16 where all weights are stored so, else f32: the type that loses nothing."""
        return self._dtypes.copy().pop() if self._dtypes in ({"f16"}, {"bf16"}) else "f32"

    def shape_of(self, source: str) -> tuple[int, ...] | None:
        """Shape of a tensor of the folder, if it is there and has its own place in the file."""
        if source == "lm_head.weight" and self.config.tie_word_embeddings:
            return None
        return self._shapes.get(source)

    def plan(self, quantization: str) -> list[TensorPlan]:
        """Every tensor of the file. Raises ExportError for weights that the architecture does not know."""
        plans = []
        for name, sources in self._names().items():
            operation = operation_of(self.architecture, sources[0])
            one = self._shapes[sources[0]]
            if any(self._shapes[source] != one for source in sources):
                raise ExportError(f"GGUF: the experts of {name} differ in shape")
            shape = (len(sources), *one) if _EXPERT.search(sources[0]) else one
            kind = type_of(name, shape, quantization)
            plans.append(TensorPlan(name, sources, operation, shape, kind, num_bytes_of(shape, kind)))
        for name, values in self._computed.items():
            plans.append(TensorPlan(name, (), "computed", values.shape, "f32", values.nbytes))
        return plans

    def pieces(self, plan: TensorPlan) -> Iterator[NDArray[Any]]:
        """The values of one tensor after its operation, float32, some rows at a time."""
        from safetensors import safe_open

        if not plan.sources:
            yield self._computed[plan.name]
        for source in plan.sources:
            shape = self._shapes[source]
            num_heads = num_heads_of(self.config, source) if plan.operation == "rows reordered by head" else 0
            head_rows = shape[0] // num_heads if num_heads else 1
            step = max(1, _PIECE_VALUES // (head_rows * int(np.prod(shape[1:])))) * head_rows
            with safe_open(self._file_of[source], framework="pt") as file:
                stored = file.get_slice(source)
                for start in range(0, shape[0], step):
                    rows: NDArray[Any] = stored[start : start + step].float().numpy()
                    if num_heads:
                        rows = reorder_heads(rows, len(rows) // head_rows)
                    yield rows + np.float32(1) if plan.operation == "plus one" else rows

    def _read_headers(self, folder: Path) -> None:
        for path in sorted(folder.glob("*.safetensors")):
            for tensor in check_safetensors(path).tensors:
                self._file_of[tensor.name] = path
                self._shapes[tensor.name] = tensor.shape
                self._dtypes.add(tensor.type)
        if "model.embed_tokens.weight" not in self._shapes:
            raise ExportError(f"{folder}: expected the safetensors of a causal model, with its embeddings")

    def _names(self) -> dict[str, tuple[str, ...]]:
        """llama.cpp's name of every tensor and what it is made of, the embeddings first."""
        name_of = tensor_names(self.config)
        names: dict[str, tuple[str, ...]] = {}
        unknown = []
        for source in sorted(self._shapes, key=_natural):
            if source.endswith("rotary_emb.inv_freq") or (
                source == "lm_head.weight" and self.config.tie_word_embeddings
            ):
                continue
            found = name_of.get_name(_EXPERT.sub(".experts.", source), try_suffixes=(".weight", ".bias"))
            if found is None:
                unknown.append(source)
            else:
                names[found] = (*names.get(found, ()), source)
        if unknown:
            raise ExportError(
                f"GGUF: {len(unknown)} tensors have no name in llama.cpp's {self.architecture.name}, the first is "
                f"{unknown[0]}; is this a merged model folder?"
            )
        return names


def tensor_names(config: Any) -> Any:
    """The `gguf` package's table from transformers' names to llama.cpp's, for this architecture."""
    name = find_architecture(config).name
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    return gguf.get_tensor_name_map(arch, config.num_hidden_layers)


def _natural(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """Layer 2 before layer 10; what belongs to no layer first."""
    parts = name.split(".")
    return "layers" in parts, [(int(part) if part.isdigit() else -1, part) for part in parts]
