"""What a run read: each file with its hash, and the dataset version that the files are.

Knows nothing of models, tokens' meaning or run folders.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.config import Layer
from luthier.data.dataset import TokenDataset
from luthier.data.places import is_dataset_place, pin_place, resolve_place
from luthier.data.sources import SourceFile, find_files, read_rows
from luthier.data.versions import hash_source
from luthier.hashing import canonical_json
from luthier.registry.dataset_refs import parse_ref
from luthier.registry.datasets import Store, dataset_id, default_store, holding
from luthier.training.recipe import Recipe

_SPLITS = {"train": "train", "validation": "valid"}
_PLACED = ("data", "train", "evaluation")  # the parts of a recipe that name data


@dataclass(frozen=True)
class DataFile:
    """One file that the run reads, for what, and its hash. `dataset`: the version that the user named for it."""

    role: str
    place: str
    sha256: str
    dataset: str | None


def data_manifest(
    files: Sequence[DataFile],
    train_rows: TokenDataset,
    validation_rows: TokenDataset | None,
    num_rows: Mapping[str, int],
) -> list[dict[str, Any]]:
    """`num_rows`: the rows of each file that was read before; the others are counted.

    An entry for each file: role, path, sha256, rows; of training and validation files the counts of tokens too.

    Every entry of a training or validation file has `dataset_id`, the id of all of these files together, and
    `dataset`, the version (`name@id`) that was named or that the store knows to hold exactly these files.
    """
    counts = {"train": train_rows, "validation": validation_rows}
    repeated = {role: num_repeated(dataset) for role, dataset in counts.items() if dataset is not None}
    entries = []
    for read in files:
        rows = num_rows.get(read.place)
        if rows is None:
            rows = sum(1 for _ in read_rows(read.place))
        entry: dict[str, Any] = {"role": read.role, "path": read.place, "sha256": read.sha256, "rows": rows}
        if (dataset := counts.get(read.role)) is not None:
            entry |= {"tokens": dataset.num_tokens, "supervised_tokens": dataset.num_supervised}
            entry |= {"token_rows": dataset.num_rows, "repeated_rows": repeated[read.role]}
            entry |= dataset.too_long
            if dataset.num_documents:
                entry["document_pieces"] = dataset.num_documents
        if read.dataset is not None:
            entry["dataset"] = read.dataset
        entries.append(entry)
    return _name(entries)


def num_repeated(rows: TokenDataset) -> int:
    """How many rows are, token for token, an earlier row."""
    distinct = {
        hashlib.blake2b(rows.row(index)[0].tobytes(), digest_size=16).digest()
        for index in range(rows.num_rows)
    }
    return rows.num_rows - len(distinct)


def same_data(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two manifests are of the same bytes in the same roles, whatever versions they were called since."""
    keys = ("role", "path", "sha256")
    return [[one.get(key) for key in keys] for one in before] == [
        [one.get(key) for key in keys] for one in now
    ]


def dataset_words(manifest: Sequence[Mapping[str, Any]]) -> str:
    """Which dataset a run reads, for its header: `rugby@3f2a1b..., id sha256:...`."""
    names = list(dict.fromkeys(one["dataset"] for one in manifest if "dataset" in one))
    ids = list(dict.fromkeys(one["dataset_id"] for one in manifest if "dataset_id" in one))
    return f"{', '.join(names) or 'no committed version'}, id {', '.join(ids)}"


def pin_versions(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with the id in each dataset version that they name: `dataset:rugby` is another one tomorrow.

    Raises DataError where there is no such version.
    """

    def pin(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: pin(one) for key, one in value.items()}
        if isinstance(value, list):
            return [pin(one) for one in value]
        return pin_place(value) if isinstance(value, str) else value

    return [
        Layer(
            layer.source,
            {key: pin(value) if key in _PLACED else value for key, value in layer.values.items()},
        )
        for layer in layers
    ]


def data_files(recipe: Recipe) -> list[DataFile]:
    """Every file that the recipe names, hashed. Raises DataError where one cannot be read."""
    places = [("train", place) for place in recipe.data.train]
    if recipe.data.validation is not None:
        places.append(("validation", recipe.data.validation))
    if recipe.train.ewc is not None:
        places.append(("general rows", recipe.train.ewc.rows))
    if recipe.evaluation.items is not None:
        places.append(("evaluation items", recipe.evaluation.items))
    return [
        DataFile(role, source.place, _hash(source), _named(place))
        for role, place in places
        for path in resolve_place(place, _SPLITS.get(role))
        for source in find_files(path)
    ]


def _named(place: str) -> str | None:
    return Store(default_store()).find(parse_ref(place)).ref if is_dataset_place(place) else None


def _hash(source: SourceFile) -> str:
    if source.kind != "hub":
        return hash_source(source)[0]
    digest = hashlib.sha256()  # the hub has no file of its own to hash: its rows stand for it
    for row in read_rows(source.place):
        digest.update(canonical_json(row.value) + b"\n")
    return "sha256:" + digest.hexdigest()


def _name(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    splits: dict[str, list[str]] = {}
    for entry in entries:
        if entry["role"] in _SPLITS:
            splits.setdefault(_SPLITS[entry["role"]], []).append(entry["sha256"])
    full_id = dataset_id(splits)
    known = holding(default_store(), splits)
    for entry in entries:
        if entry["role"] in _SPLITS:
            entry["dataset_id"] = full_id
            if known is not None:
                entry.setdefault("dataset", known.ref)
    return entries
