"""Find a model by name, folder or hub id and load it with its tokenizer and its one token path.

Code from the hub is never run and pickle is never read: weights are safetensors.
This file knows nothing of runs or registries; it takes names and paths.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from luthier.chat.render import Renderer
from luthier.errors import ConfigError, ModelError
from luthier.models.embedded import DEFAULT_MODEL, EMBEDDED
from luthier.models.hardware import choose_dtype, default_device
from luthier.models.methods.bottleneck import attach_bottleneck, is_bottleneck_folder
from luthier.models.methods.virtual import virtual_tokens
from luthier.models.quantized import Quantization, bitsandbytes_config, refuse_fused_experts
from luthier.models.rope import (
    RopeScaling,
    forget_lengths,
    mark_scaled,
    num_positions,
    read_scaling,
    scale_positions,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class Source:
    """Where a model's files are. `base`: what weights come from; `adapter`: a PEFT folder laid over it."""

    name: str
    base: str
    adapter: Path | None = None

    @property
    def tokenizer_place(self) -> str:
        """An adapter folder that brings a tokenizer was trained with that one."""
        if self.adapter is not None and (self.adapter / "tokenizer.json").exists():
            return str(self.adapter)
        return self.base

    @property
    def num_bytes(self) -> int:
        """Of the base's weights; 0 where they are a hub's, which may not be on this disk."""
        return sum(file.stat().st_size for file in Path(self.base).glob("*.safetensors"))

    @property
    def rope_scaling(self) -> RopeScaling | None:
        """How the positions of the base were scaled when the adapter was trained, if they were."""
        return read_scaling(self.adapter) if self.adapter is not None else None


@dataclass
class LoadedModel:
    """A model ready to answer: the module, its tokenizer, its renderer, and how it was loaded."""

    model: Any
    tokenizer: Any
    renderer: Renderer
    source: Source
    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def context_length(self) -> int:
        """The positions that the architecture was made for, less those of virtual tokens; 0 where it does not say."""
        positions = num_positions(self.model.config)
        virtual = virtual_tokens(self.model)
        return max(1, positions - virtual.count) if virtual is not None and positions else positions


def find_model(ref: str) -> Source:
    """What `ref` means: an embedded name, a model or adapter folder, or else a hub id.

    Raises ModelError for a folder that holds no model, and for a path that does not exist.
    """
    if ref in EMBEDDED:
        folder = EMBEDDED[ref].folder
        if not (folder / "config.json").exists():
            raise ModelError(f"{ref} is not in this installation ({folder} holds no config.json)")
        return Source(ref, str(folder))
    folder = Path(ref).expanduser()
    if folder.is_dir():
        return _source_of_folder(ref, folder)
    if folder.exists():
        raise ModelError(f"{ref}: expected a model folder or a hub id, got a file")
    if ref.startswith((".", "/", "~")) or ref.count("/") > 1:
        raise ModelError(f"{ref}: there is no such folder. Embedded models: {', '.join(EMBEDDED)}")
    return Source(ref, ref)


def _source_of_folder(ref: str, folder: Path) -> Source:
    adapter_config = folder / "adapter_config.json"
    if adapter_config.exists():
        return Source(ref, _base_of_adapter(ref, folder, adapter_config), folder)
    config = folder / "config.json"
    if not config.exists():
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise ModelError(
            f"{ref}: not a model folder: expected config.json (a model) or adapter_config.json (an adapter), "
            f"found {inside}"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{ref}: expected weights as *.safetensors; Luthier never reads pickled weights (.bin, .pt). "
            "Convert them with a tool that you trust"
        )
    return Source(ref, str(folder))


def _base_of_adapter(ref: str, folder: Path, adapter_config: Path) -> str:
    try:
        base = json.loads(adapter_config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{adapter_config}: expected a JSON object: {error}") from error
    if not base:
        raise ModelError(f"{adapter_config}: names no base model (base_model_name_or_path)")
    if not (folder / "adapter_model.safetensors").exists():
        raise ModelError(
            f"{ref}: expected adapter_model.safetensors; Luthier never reads pickled weights (.bin, .pt)"
        )
    if (Path(str(base)).expanduser() / "adapter_config.json").exists():
        raise ModelError(
            f"{ref}: its base {base} is an adapter itself; merge that one first (luthier export)"
        )
    return find_model(str(base)).base


def load_tokenizer(place: str) -> Any:
    """The tokenizer of a model folder or hub id. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise _needs_code(place) from error
        raise ModelError(f"{place}: cannot load a tokenizer: {_first_line(error)}") from error


def load_config(place: str) -> Any:
    """The architecture's config. Raises ModelError, also where it would need code from the hub."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise _needs_code(place) from error
        raise ModelError(f"{place}: cannot load a model config: {_first_line(error)}") from error


def _needs_code(place: str) -> ModelError:
    return ModelError(
        f"{place}: this model needs code of its own (auto_map in its config). Luthier never runs code that comes "
        "with a model; use one whose architecture transformers itself knows"
    )


def load_model(
    ref: str = DEFAULT_MODEL,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantization: Quantization | None = None,
) -> LoadedModel:
    """Load a model for answering.

    `dtype`: auto (measured on this machine), float32, bfloat16, float64. `quantization`: of the linear layers of the
    base, as a qlora run had it; without it an adapter is laid over the base in `dtype`, which is what ships. Raises
    ModelError, and ConfigError for a dtype or a device that does not exist.
    """
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError(f"dtype: expected auto, {', '.join(DTYPES)}; got {dtype!r}")
    source = find_model(ref)
    chosen_device = find_device(device)
    chosen_dtype = choose_dtype(chosen_device).dtype if dtype == "auto" else DTYPES[dtype]
    tokenizer = load_tokenizer(source.tokenizer_place)
    model = load_weights(
        source.base,
        chosen_dtype,
        rope_scaling=source.rope_scaling,
        quantization=quantization,
        device=chosen_device,
    )
    if source.adapter is not None:
        model = attach_adapter(model, source.adapter)
    if quantization is None:  # a quantised one is there already, and transformers moves none
        model.to(chosen_device)
    model.eval()
    return LoadedModel(model, tokenizer, Renderer(tokenizer), source, chosen_device, chosen_dtype)


def stored_dtype(place: str) -> torch.dtype:
    """The dtype that a model folder or hub id says its weights are stored in; float32 where it does not say."""
    named = getattr(load_config(place), "dtype", None)
    if isinstance(named, str):  # some configs keep the name
        named = getattr(torch, named.removeprefix("torch."), None)
    return named if isinstance(named, torch.dtype) else torch.float32


def find_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`. Raises ConfigError for one that is not here."""
    if name == "auto":
        return default_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: expected auto, cpu, or a device of this machine; got {name!r}") from error
    return device


def load_weights(
    place: str,
    dtype: torch.dtype,
    *,
    rope_scaling: RopeScaling | None = None,
    quantization: Quantization | None = None,
    device: torch.device | None = None,
) -> Any:
    """The causal model of a folder or hub id, in `dtype`, on the CPU.

    With a `rope_scaling` it takes more positions than it was made for. With a `quantization` its linear layers are
    quantised as they are read, on `device`. Raises ModelError, and ConfigError where the positions cannot be scaled or
    bitsandbytes is absent.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(place)
    _refuse_scorer(place, config)
    if rope_scaling is not None:
        scale_positions(config, rope_scaling)
    how: dict[str, Any] = {}
    if quantization is not None:
        # bitsandbytes quantises where the weights will stay.
        how["quantization_config"] = bitsandbytes_config(quantization, dtype)
        how["device_map"] = {"": device or torch.device("cpu")}
    model, found = read_model(AutoModelForCausalLM, place, config, dtype, **how)
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{place}: {len(missing)} weights of this architecture are not in its files, the first is {missing[0]}; "
            "they would be random numbers. Fetch the model again, or mend its config.json"
        )
    if quantization is not None:
        refuse_fused_experts(model)
    if rope_scaling is not None:
        mark_scaled(model, rope_scaling)
    forget_lengths(model)
    if dtype == torch.float64:
        model.set_experts_implementation("eager")  # the grouped products of a mixture take float32 at most
    return model


def _refuse_scorer(place: str, config: Any) -> None:
    # With tied embeddings such a folder would load as a language model without a word.
    names = getattr(config, "architectures", None) or [""]
    if str(names[0]).endswith("ForSequenceClassification"):
        raise ModelError(f"{place}: {_SCORES}")


_SCORES = (
    "a reward model (or a classifier): it scores answers and writes none, so it cannot chat, be asked items or be "
    "exported as a language model. Score with it: luthier score MODEL FILE; others load it as it is, with "
    "AutoModelForSequenceClassification"
)


def read_model(
    architecture: Any, place: str, config: Any, dtype: torch.dtype, **how: Any
) -> tuple[Any, dict[str, Any]]:
    """A model by one of transformers' Auto classes, and what it says of its files. Raises ModelError."""
    try:
        model, found = architecture.from_pretrained(
            place,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **how,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{place}: cannot load the weights: {_first_line(error)}") from error
    return model, found


def attach_adapter(model: Any, folder: Path) -> Any:
    """Lay the adapter in `folder` (PEFT's, or bottlenecks) over `model`. Raises ModelError where it does not fit."""
    from peft import PeftModel, get_peft_model_state_dict

    task = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("task_type")
    if task == "SEQ_CLS" and not type(model).__name__.endswith("ForSequenceClassification"):
        raise ModelError(f"{folder}: {_SCORES}")
    try:
        if is_bottleneck_folder(folder):
            return attach_bottleneck(model, folder)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error below
            warnings.filterwarnings("ignore", message=r"The following \w+_pattern keys did not match")
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            stored = set(file.keys())
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot attach the adapter: {_first_line(error)}") from error
    if differing := sorted(stored ^ set(get_peft_model_state_dict(adapted, save_embedding_layers=False))):
        raise ModelError(
            f"{folder}: the adapter does not fit this model: {len(differing)} of its weights are on one side only, "
            f"the first is {differing[0]}; it would be laid over the base in part or not at all"
        )
    return adapted


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
