"""What a person names at the gate: a run, a folder, an embedded name, a specialist -> what is asked, with its past.

Knows nothing of evaluation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import RegistryError, RunError
from luthier.hashing import hash_text
from luthier.models.embedded import EMBEDDED
from luthier.models.endpoint import is_endpoint
from luthier.models.load import find_model
from luthier.pipeline.identity import model_hash
from luthier.registry.runs import Run, is_run, open_run
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore

RESOLVED = "resolved.json"


@dataclass(frozen=True)
class Found:
    """A model that may be asked. `place`: what it is loaded from; `weights`: their hash.

    base: what it was trained from, where that is known. data: the entries of its run's data.json, where there are any.
    """

    name: str
    place: str
    weights: str
    system_prompt: str | None = None
    base: str | None = None
    data: Sequence[Mapping[str, Any]] = ()
    specialist: Specialist | None = None


def find_contender(ref: str, store: SpecialistStore | None) -> Found:
    """What a reference means: URL#MODEL, or a run or folder that is there, an embedded name, a specialist, a hub id.

    In this order. The weights behind a URL are not known: the hash is that of the name.

    Raises RunError where a run has no model yet, RegistryError where a named version is not there, ModelError.
    """
    if is_endpoint(ref):
        return Found(ref, ref, hash_text(ref))
    if is_run(Path(ref)):
        return _run(ref, open_run(Path(ref)))
    is_elsewhere = ref in EMBEDDED or Path(ref).exists()
    if store is not None and not is_elsewhere and ref.partition("@")[0] in store.names():
        return _specialist(store, store.find(ref))
    if "@" in ref and not is_elsewhere:
        kept = ", ".join(store.names()) if store is not None else ""
        raise RegistryError(f"no specialist is called {ref!r}; there are: {kept or 'none yet'}")
    source = find_model(ref)
    base = source.base if source.adapter is not None else None
    return Found(ref, ref, model_hash(ref), base=base)


def _run(ref: str, run: Run) -> Found:
    if not run.model_folder.is_dir():
        raise RunError(
            f"{ref}: this run is {run.status()} and has no model yet; continue it: luthier train --resume {ref}"
        )
    place = str(run.model_folder)
    data = json.loads(run.data_path.read_text(encoding="utf-8")) if run.data_path.is_file() else []
    values = json.loads(run.resolved_path.read_text(encoding="utf-8")) if run.resolved_path.is_file() else {}
    return Found(ref, place, model_hash(place), base=_base(place, values), data=data)


def _specialist(store: SpecialistStore, one: Specialist) -> Found:
    place = str(store.opened(one) / "model")
    resolved: dict[str, Any] = {}
    if RESOLVED in one.files:
        with store.artifacts.open(one.files[RESOLVED]) as file:
            resolved = json.loads(file.read())
    return Found(
        name=one.ref,
        place=place,
        weights=model_hash(place),
        system_prompt=one.system_prompt,
        base=_base(place, resolved),
        data=one.manifest.get("data") or (),
        specialist=one,
    )


def _base(place: str, resolved: Mapping[str, Any]) -> str | None:
    """Of an adapter, what it lies on; of weights, what the run says it began with."""
    source = find_model(place)
    if source.adapter is not None:
        return source.base
    model = (resolved.get("values") or {}).get("model") or {}
    name = model.get("name")
    return str(name) if name and not model.get("new") else None
