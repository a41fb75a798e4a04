"""The plan of a merge: every tensor of the folder that will be written, where it comes from, what is done to it.

Only headers are read, and the adapter. A base whose files hold the model's own tensors is merged by the piece; one
whose files transformers renames while it reads them (mixtures of experts), or an adapter of a kind that only PEFT can
merge, is merged whole in memory, and the plan says so. Knows nothing of what is done with the folder.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from luthier.errors import ConfigError, ExportError
from luthier.export.changes import Change, NotStreamed, adapter_config, changes_of
from luthier.export.tensor_files import Entry, StoredTensor, header_bytes, shards, stored_tensors
from luthier.models.load import Source, load_config, stored_dtype
from luthier.models.rope import scale_positions
from luthier.models.stream import weight_files

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_SHARD_BYTES = 5_000_000_000
PIECE_BYTES = 64 * 1024 * 1024
"""How much of a tensor, in float32, is in memory at a time."""


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the result. `stored`: the base's, None where it is trained as a whole."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    operation: str
    stored: StoredTensor | None = None
    change: Change | None = None

    @property
    def entry(self) -> Entry:
        return Entry(self.name, self.dtype, self.shape)

    @property
    def num_bytes(self) -> int:
        return self.entry.num_bytes

    def describe(self) -> str:
        """One line for a person."""
        shape = " x ".join(str(size) for size in self.shape)
        return f"{self.name}  {shape}  {str(self.dtype).removeprefix('torch.')}  {self.operation}"


@dataclass(frozen=True)
class MergePlan:
    """What a merge will write. `whole_because`: why it needs the whole model in memory; None: merged by the piece.

    `config`: the merged model's, as transformers keeps it.
    """

    source: Source
    dtype: torch.dtype
    tensors: tuple[TensorPlan, ...]
    config: Any
    whole_because: str | None = None

    @property
    def num_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.tensors)

    @property
    def num_changed(self) -> int:
        return sum(tensor.change is not None for tensor in self.tensors)

    @property
    def files(self) -> Mapping[str, list[Entry]]:
        """The weight files, with what each holds."""
        return shards([tensor.entry for tensor in self.tensors], MAX_SHARD_BYTES)

    def file_sizes(self) -> dict[str, int]:
        """Bytes of each weight file, header included."""
        return {
            name: len(header_bytes(entries)) + sum(entry.num_bytes for entry in entries)
            for name, entries in self.files.items()
        }

    @property
    def memory_bytes(self) -> int:
        """What the merge holds at most beside the libraries: adapter and a few pieces, or the whole model twice."""
        if self.whole_because is not None:
            return 2 * sum(4 * prod(tensor.shape) for tensor in self.tensors)
        pieces = max((_piece_bytes(tensor) for tensor in self.tensors), default=0)
        return _adapter_bytes(self.source) * 2 + 4 * pieces


def _piece_bytes(tensor: TensorPlan) -> int:
    if tensor.change is not None and not tensor.change.by_rows:
        return 4 * prod(tensor.shape)
    row = 4 * prod(tensor.shape[1:])
    return min(4 * prod(tensor.shape), max(row, PIECE_BYTES))


def _adapter_bytes(source: Source) -> int:
    return 0 if source.adapter is None else (source.adapter / "adapter_model.safetensors").stat().st_size


def plan_merge(source: Source, dtype: str = "auto") -> MergePlan:
    """Plan the merged folder of a model. `dtype`: auto (as the base is stored), float32, bfloat16 or float16.

    Raises ExportError where it cannot be merged, or its base is stored quantised; ModelError where it cannot be read.
    """
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError(f"dtype: expected auto, {', '.join(DTYPES)}; got {dtype!r}")
    config = load_config(source.base)
    if getattr(config, "quantization_config", None):
        raise ExportError(
            f"{source.base}: its weights are stored quantised, and rounding them again would make another model. Name "
            "the full-precision model that it was made from as base_model_name_or_path in adapter_config.json"
        )
    target = stored_dtype(source.base) if dtype == "auto" else DTYPES[dtype]
    if source.rope_scaling is not None:
        scale_positions(config, source.rope_scaling)
    stored = _stored(source.base)
    names = _own_names(source.base, config, stored)
    tied = names is not None and "lm_head.weight" not in names and bool(config.tie_word_embeddings)
    whole_because = (
        None if names is not None else "transformers renames the tensors of its files as it reads them"
    )
    changes: dict[str, Change] = {}
    if source.adapter is not None:
        reachable = {*(names or stored), *(["lm_head.weight"] if tied else [])}
        try:
            changes = changes_of(source.adapter, reachable) if names is not None else {}
        except NotStreamed as reason:
            whole_because = str(reason)
    if whole_because is not None:
        return MergePlan(source, target, _whole(stored, target, source), config, whole_because)
    assert names is not None
    if tied:
        names = _untied(config, names, changes)
    tensors = tuple(
        _tensor(name, stored_one, changes.get(name), target) for name, stored_one in names.items()
    )
    _note_shapes(config, tensors)
    config.dtype = target
    return MergePlan(source, target, tensors, config)


def _stored(place: str) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for path in sorted(set(weight_files(place).files.values())):
        found |= stored_tensors(path)
    return found


def _own_names(place: str, config: Any, stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor] | None:
    """The stored tensors by the names of the model's parameters; None where the two do not correspond."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    state = model.state_dict()
    prefix = f"{model.base_model_prefix}."
    named = {}
    for name, tensor in stored.items():
        own = name if name in state else prefix + name
        if own not in state:
            if name.endswith(("rotary_emb.inv_freq", ".masked_bias", ".attn.bias")):
                continue  # buffers that old files carry and no model reads
            return None
        if tuple(state[own].shape) != tensor.shape:
            return None
        named[own] = tensor
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    missing = set(state) - set(named) - tied - {name for name, _ in model.named_buffers()}
    return None if missing else named


def _untied(
    config: Any, names: dict[str, StoredTensor], changes: Mapping[str, Change]
) -> dict[str, StoredTensor]:
    """Embeddings and head are one tensor until an adapter changes one of them and not the other."""
    embedding = next((name for name in names if name.endswith(("embed_tokens.weight", "wte.weight"))), None)
    if embedding is None or not {embedding, "lm_head.weight"} & changes.keys():
        return names
    config.tie_word_embeddings = False
    return {**names, "lm_head.weight": names[embedding]}


def _tensor(name: str, stored: StoredTensor, change: Change | None, target: torch.dtype) -> TensorPlan:
    dtype = target if stored.dtype.is_floating_point else stored.dtype
    cast = "" if dtype == stored.dtype else f"cast from {str(stored.dtype).removeprefix('torch.')}"
    if change is None:
        return TensorPlan(name, dtype, stored.shape, cast or "copied", stored)
    if change.trained is not None:
        return TensorPlan(name, dtype, tuple(change.trained.shape), change.word, None, change)
    return TensorPlan(name, dtype, stored.shape, f"{change.word}, in float32", stored, change)


def _note_shapes(config: Any, tensors: tuple[TensorPlan, ...]) -> None:
    """A vocabulary that grew with the adapter is written into the config."""
    rows = {t.shape[0] for t in tensors if t.name.endswith(("embed_tokens.weight", "wte.weight"))}
    heads = {t.shape[0] for t in tensors if t.name == "lm_head.weight"}
    if heads and heads != rows:
        raise ExportError(
            f"the adapter gives {rows.pop()} rows to the embeddings and {heads.pop()} to the head: both must know "
            "every token. Save both (modules_to_save)"
        )
    if rows:
        config.vocab_size = rows.pop()


def _whole(stored: Mapping[str, StoredTensor], target: torch.dtype, source: Source) -> tuple[TensorPlan, ...]:
    operation = (
        "read by transformers, cast"
        if source.adapter is None
        else "read by transformers, merged by PEFT, cast"
    )
    return tuple(TensorPlan(name, target, one.shape, operation, one) for name, one in stored.items())


def describe_method(source: Source) -> str:
    """What the adapter is, in a few words, with its scale said."""
    if source.adapter is None:
        return "whole weights"
    config = adapter_config(source.adapter)
    kind = str(config.get("peft_type"))
    if kind != "LORA":
        return kind
    name = "DoRA" if config.get("use_dora") else "rsLoRA" if config.get("use_rslora") else "LoRA"
    root = "sqrt(r)" if config.get("use_rslora") else "r"
    return f"{name}, rank {config.get('r')}, scale alpha / {root} = {config.get('lora_alpha')} / {root}"


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds `folder`, which need not be there yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    stats = os.statvfs(place)
    return stats.f_bavail * stats.f_frsize
