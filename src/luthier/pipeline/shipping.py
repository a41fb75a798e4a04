"""What a person called a model, as a shipment: a run, a specialist, a model or adapter folder.

Knows nothing of the forms that it will take.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError, RunError
from luthier.export.shipment import Shipment
from luthier.hashing import hash_file
from luthier.models.load import find_model
from luthier.pipeline.bundle import MODEL, asked_of, shared_system_prompt
from luthier.pipeline.identity import model_hash
from luthier.registry.runs import Run, is_run, open_run
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore, default_store

_SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty")


@dataclass(frozen=True)
class Found:
    """The shipment, what loads it, the items it was evaluated on, and where its records are kept."""

    shipment: Shipment
    model: str
    items: Path | None = None
    specialist: Specialist | None = None
    store: SpecialistStore | None = None

    def record(self, kind: str, body: Mapping[str, Any]) -> None:
        """Keep what became known, where the model is a specialist's."""
        if self.store is not None and self.specialist is not None:
            self.store.attach(self.specialist, kind, body)


def find_shipment(ref: str, warn: Callable[[str], None] = lambda text: None) -> Found:
    """`warn` is told where a run's training rows, and so the system prompt that they share, cannot be read again.

    Raises RunError for a run without a model, ModelError and RegistryError for what does not exist.
    """
    if is_run(Path(ref)):
        return _of_run(open_run(Path(ref)), warn)
    if not Path(ref).exists() and (specialist := _specialist(ref)) is not None:
        return _of_specialist(*specialist)
    source = find_model(ref)
    sampling = _sampling_of(source.base)
    return Found(Shipment(Path(ref).name or ref, source, sampling=sampling, hashes=_hashes(ref)), ref)


def _specialist(ref: str) -> tuple[SpecialistStore, Specialist] | None:
    root = os.environ.get("LUTHIER_SPECIALISTS") or "specialists"
    if "://" not in root and not Path(root).is_dir():
        return None
    store = default_store()
    if "@" not in ref and ref not in store.names():
        return None
    return store, store.find(ref)


def _of_run(run: Run, warn: Callable[[str], None]) -> Found:
    if not run.model_folder.is_dir():
        raise RunError(
            f"{run.folder}: this run is {run.status()} and has no model yet; continue it: luthier train --resume "
            f"{run.folder}"
        )
    model = str(run.model_folder)
    source = find_model(model)
    data = json.loads(run.data_path.read_text(encoding="utf-8"))
    shipment = Shipment(
        run.name,
        source,
        system_prompt=shared_system_prompt(asked_of(run, warn)),
        sampling=_sampling_of(source.base),
        hashes=_hashes(model),
        trained_on=_data_names(data),
    )
    return Found(shipment, model, _items_of(run.resolved_path))


def _of_specialist(store: SpecialistStore, one: Specialist) -> Found:
    folder = store.opened(one)
    model, manifest = str(folder / MODEL), one.manifest
    base = manifest.get("base") or {}
    shipment = Shipment(
        one.name,
        find_model(model),
        system_prompt=one.system_prompt,
        sampling=manifest.get("sampling") or {},
        licence=manifest.get("licence"),
        hashes={
            "specialist": one.id,
            **_hashes(model),
            **({"base": base["hash"]} if base.get("hash") else {}),
        },
        trained_on=_data_names(manifest.get("data") or {}),
    )
    return Found(shipment, model, _items_of(folder / "resolved.json"), one, store)


def _items_of(resolved: Path) -> Path | None:
    """The evaluation items that the recipe names, where they are still there."""
    if not resolved.is_file():
        return None
    values = json.loads(resolved.read_text(encoding="utf-8"))["values"]
    named = (values.get("evaluation") or {}).get("items")
    return Path(named) if isinstance(named, str) and Path(named).is_file() else None


def _hashes(model: str) -> dict[str, str]:
    source = find_model(model)
    own = {"base": model_hash(source.base)}
    if source.adapter is not None:
        own["adapter"] = hash_file(source.adapter / "adapter_model.safetensors")
    return own


def _data_names(data: Any) -> list[str]:
    """Files with their hashes, as the data manifest has them."""
    found: list[str] = []
    if isinstance(data, Mapping):
        if isinstance(data.get("path"), str):
            return [f"{Path(data['path']).name} {data.get('sha256') or ''}".strip()]
        found = [name for value in data.values() for name in _data_names(value)]
    elif isinstance(data, list):
        found = [name for value in data for name in _data_names(value)]
    return found


def _sampling_of(base: str) -> dict[str, Any]:
    """What the base says of sampling in its generation config; nothing where it says nothing."""
    from transformers import GenerationConfig

    try:
        config = GenerationConfig.from_pretrained(base).to_diff_dict()
    except (OSError, ValueError, LuthierError):
        return {}
    if not config.get("do_sample"):
        return {"temperature": 0.0}
    return {key: config[key] for key in _SAMPLING if config.get(key) is not None}
