"""Loading by the layer: the crown of a model in memory, each layer of its trunk only while it computes.

All parameters start on torch's meta device, which holds shapes and no numbers. What stands outside the trunk is read
from the safetensors files at once; a layer of the trunk when it is entered, and let go when it is left. So memory holds
the crown, the embeddings, the head and one layer. This file knows nothing of adapters, data or stores.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from luthier.errors import ConfigError, ModelError
from luthier.models.heap import give_back_freed_memory
from luthier.models.kept import keep_as_stored
from luthier.models.layers import decoder_layers, name_of_layers
from luthier.models.load import load_config

_MARK = "luthier_stream"
_MAPPED_NUMBERS = 16 << 20
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_KINDS = {
    "full_attention",
    "sliding_attention",
}  # of layers that carry nothing from token to token but attention


@dataclass(frozen=True)
class WeightFiles:
    """Which safetensors file of a model folder holds which tensor."""

    files: dict[str, Path]

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """A copy of one tensor in `dtype`. Raises ModelError where the files do not hold it."""
        if name not in self.files:
            raise ModelError(
                f"{name} is not in the files of this model, so it cannot be streamed: set model.stream=false"
            )
        with safe_open(self.files[name], framework="pt") as file:
            shape = file.get_slice(name).get_shape()
        tensor = torch.empty(shape, dtype=dtype)
        rows_T = tensor.view(-1) if tensor.ndim < 2 else tensor
        step = max(1, _MAPPED_NUMBERS // max(1, rows_T[:1].numel()))
        for start in range(0, len(rows_T), step):
            # Opened anew for each piece: what was read of a mapped file counts as memory until it is closed.
            with safe_open(self.files[name], framework="pt") as file:
                piece = file.get_slice(name)[start : start + step] if shape else file.get_tensor(name)
                rows_T[start : start + step] = piece
        return tensor

    def widest_dtype(self) -> torch.dtype:
        """The dtype that holds every number of the files as it is."""
        widest = torch.bfloat16
        for path in set(self.files.values()):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - a file is no mapping
                    dtype = file.get_slice(name).get_dtype()
                    widest = torch.promote_types(widest, _DTYPES.get(dtype, torch.float64))
        return widest


def weight_files(place: str) -> WeightFiles:
    """The weights of a model folder or hub id, in one file or several. Raises ModelError."""
    folder = _folder_of(place)
    try:
        index = folder / "model.safetensors.index.json"
        if index.exists():
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return WeightFiles({name: folder / file for name, file in names.items()})
        path = folder / "model.safetensors"
        with safe_open(path, framework="pt") as file:
            return WeightFiles(dict.fromkeys(file.keys(), path))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{place}: cannot read its safetensors files: {error}") from error


def _folder_of(place: str) -> Path:
    if Path(place).expanduser().is_dir():
        return Path(place).expanduser()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(place, allow_patterns=["*.safetensors", "*.json"]))
    except (OSError, ValueError) as error:
        raise ModelError(f"{place}: cannot fetch its weights: {error}") from error


@dataclass(frozen=True)
class Stream:
    """The trunk of a model that was loaded by `load_crown`: the layers below `depth` have no numbers."""

    files: WeightFiles
    prefix: str
    backbone: nn.Module
    layers: nn.ModuleList
    depth: int
    dtype: torch.dtype
    device: torch.device

    @contextlib.contextmanager
    def in_memory(self, index: int) -> Iterator[nn.Module]:
        """Inside, layer `index` holds its numbers."""
        layer = self.layers[index]
        name = f"{self.prefix}{name_of_layers(self.backbone)}.{index}"
        _materialise(layer, name, self.files, self.device)
        try:
            yield layer
        finally:
            layer.to("meta")


def stream_of(model: Any) -> Stream | None:
    """The stream of a model that has one."""
    return getattr(model, _MARK, None)


def load_crown(
    place: str,
    num_layers: int,
    dtype: torch.dtype,
    device: torch.device,
    frozen_dtype: torch.dtype | None = None,
) -> Any:
    """The causal model of a folder or hub id with only its last `num_layers` layers, embeddings, norm and head loaded.

    With a `frozen_dtype` its matrices are kept in it (see models.kept). Raises ModelError where it cannot be streamed,
    ConfigError where it has no layer below those.
    """
    from transformers import AutoModelForCausalLM

    give_back_freed_memory()
    config, files = load_config(place), weight_files(place)
    if strange := sorted(set(getattr(config, "layer_types", None) or []) - _KINDS):
        raise ModelError(
            f"{place}: layers of the kind {strange[0]} cannot be streamed: set model.stream=false"
        )
    with _parameters_on_meta():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if frozen_dtype is not None:
        keep_as_stored(model, frozen_dtype, dtype)
    backbone = getattr(model, model.base_model_prefix)
    layers = decoder_layers(backbone)
    if layers is None:
        raise ModelError(f"{type(model).__name__}: found no list of layers, so it cannot be streamed")
    depth = len(layers) - num_layers
    if depth < 1:
        raise ConfigError(
            f"model.stream: the model has {len(layers)} layers and method.num_layers is {num_layers}, so no layer is "
            "frozen below those that train"
        )
    first = f"{model.base_model_prefix}."
    prefix = first if any(name.startswith(first) for name in files.files) else ""
    trunk = {id(parameter) for layer in layers[:depth] for parameter in layer.parameters()}
    for name, parameter in list(model.named_parameters()):
        if id(parameter) not in trunk:
            stored = prefix + name.removeprefix(first) if name.startswith(first) else name
            _set(model, name, files.read(stored, parameter.dtype).to(device))
    model.tie_weights()
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            module._buffers[name] = buffer.to(device)
    stream = Stream(files, prefix, backbone, layers, depth, dtype, device)
    setattr(model, _MARK, stream)
    return model.eval()


def stochastic(stream: Stream) -> bool:
    """Would anything below the crown draw random numbers in training?"""
    below = [*stream.layers[: stream.depth], *stream.backbone.children()]
    modules = [module for one in below if one is not stream.layers for module in one.modules()]
    dropouts = [module.p for module in modules if isinstance(module, nn.Dropout)]
    return any(dropouts) or any(getattr(module, "attention_dropout", 0.0) for module in modules)


def _materialise(module: nn.Module, place: str, files: WeightFiles, device: torch.device) -> None:
    for name, parameter in list(module.named_parameters()):
        _set(module, name, files.read(f"{place}.{name}", parameter.dtype).to(device))


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    *path, last = name.split(".")
    owner = module.get_submodule(".".join(path))
    expected = owner._parameters[last]
    assert expected is not None
    if expected.shape != tensor.shape:
        raise ModelError(f"{name}: expected shape {tuple(expected.shape)}, got {tuple(tensor.shape)}")
    owner._parameters[last] = nn.Parameter(tensor, requires_grad=False)


@contextlib.contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Inside, parameters of new modules have no numbers; buffers, which follow from the config, have theirs."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
