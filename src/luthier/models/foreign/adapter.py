"""A PEFT folder from another trainer, held against its base before it is taken: every name and every shape.

PEFT itself only warns of keys that do not fit, and answers with the base alone. The base is built without weights.
Knows nothing of how adapters are trained or merged.
"""

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.files import atomic_directory, write_json_atomic
from luthier.models.file_headers import check_safetensors
from luthier.models.foreign.pickles import refuse_pickles_alone
from luthier.models.load import find_model, load_config

_CONFIG, _WEIGHTS, _BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
_KEPT = (
    *(_WEIGHTS, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
    *("rope_scaling.json", "generation_config.json"),
)
_SHOWN = 8
Shape = tuple[int, ...]


def import_adapter(folder: Path, base: str, out: Path, *, base_hash: str | None = None) -> int:
    """Write the adapter `folder`, for the model `base`, to `out`; gives the number of its tensors.

    `base_hash`: of the base's weights, held against the one that the folder names in base.json, if it does.
    Raises ModelError with the list of what is missing, unexpected or of another shape; for pickled weights; and for
    another base.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: expected a PEFT folder")
    config = _read_json(folder / _CONFIG)
    refuse_pickles_alone(folder, _WEIGHTS)
    _refuse_other_hash(folder, base, base_hash)
    stored = {tensor.name: tensor.shape for tensor in check_safetensors(folder / _WEIGHTS).tensors}
    expected = _expected(folder, base)
    _refuse_differences(folder, base, stored, expected)
    source = find_model(base)
    with atomic_directory(out, replace=False) as beside:
        for name in _KEPT:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, beside / name)
        place = base if source.name == base and not Path(base).is_dir() else str(Path(base).resolve())
        write_json_atomic(beside / _CONFIG, config | {"base_model_name_or_path": place})
    return len(stored)


def named_base(folder: Path) -> str | None:
    """The base that the folder names, if it names one."""
    return _read_json(folder / _CONFIG).get("base_model_name_or_path") or None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: expected a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _refuse_other_hash(folder: Path, base: str, base_hash: str | None) -> None:
    if base_hash is None or not (folder / _BASE).is_file():
        return
    wanted = _read_json(folder / _BASE).get("base_hash")
    if wanted and wanted != base_hash:
        raise ModelError(
            f"{folder}: made for a base whose weights have the hash {wanted}; those of {base} have {base_hash}"
        )


def _expected(folder: Path, base: str) -> dict[str, Shape]:
    """Names and shapes of the tensors that PEFT would save for this config over this base."""
    import torch
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    source = find_model(base)
    if source.adapter is not None:
        raise ModelError(f"{base}: an adapter itself; merge it first (luthier export)")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        if getattr(config, "init_lora_weights", None) not in (True, False, None):
            config.init_lora_weights = (
                True  # other starts read the base's weights; shapes do not depend on them
            )
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            adapted = get_peft_model(AutoModelForCausalLM.from_config(load_config(source.base)), config)
        state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(f"{folder}: PEFT cannot lay this adapter over {base}: {error}") from error
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _refuse_differences(
    folder: Path, base: str, stored: dict[str, Shape], expected: dict[str, Shape]
) -> None:
    missing = sorted(set(expected) - set(stored))
    unexpected = sorted(set(stored) - set(expected))
    other = sorted(name for name in set(stored) & set(expected) if stored[name] != expected[name])
    if not (missing or unexpected or other):
        return
    lines = [f"{folder}: this adapter does not fit {base}"]
    if cause := _cause(missing, unexpected, other):
        lines[0] += f": {cause}"
    lines += _listed("missing", missing, lambda name: f"{name} {expected[name]}")
    lines += _listed("unexpected", unexpected, lambda name: f"{name} {stored[name]}")
    lines += _listed("of another shape", other, lambda n: f"{n} {stored[n]}, the base takes {expected[n]}")
    raise ModelError("\n".join(lines))


def _cause(missing: list[str], unexpected: list[str], other: list[str]) -> str | None:
    """What most likely happened: the same weights under another prefix, or another base."""
    tails = {_tail(name): name for name in missing}
    pairs = [(tails[_tail(name)], name) for name in unexpected if _tail(name) in tails]
    if missing and len(pairs) == len(missing) == len(unexpected):
        want, have = pairs[0]
        tail = _tail(have)
        return f"its keys begin with {have.removesuffix(tail)!r} and not with {want.removesuffix(tail)!r}"
    if other and not missing and not unexpected:
        return "it was made for a base of another shape"
    return None


def _tail(name: str) -> str:
    """From the layer on, without the name that PEFT gives an adapter in memory."""
    found = re.search(r"(layers|h|blocks)\.\d+\..*", name)
    return (found[0] if found else name.split(".")[-2]).replace(".default.", ".")


def _listed(what: str, names: list[str], describe: Any) -> list[str]:
    if not names:
        return []
    more = [f"  ... and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [f"{len(names)} {what}:", *(f"  {describe(name)}" for name in names[:_SHOWN]), *more]
