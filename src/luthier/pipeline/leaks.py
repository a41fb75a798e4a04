"""Evaluation items held against the rows that a model was trained on, by the data room's checks.

Knows nothing of what a leak leads to.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.leakage import LeakedPrompts, LeakedRows
from luthier.data.checks.near_duplicates import NearDuplicates
from luthier.data.places import resolve_place
from luthier.data.sources import find_files
from luthier.data.versions import hash_source
from luthier.errors import DataError
from luthier.evaluation.gate.evidence import LeakReport


def training_files(manifest: Iterable[Mapping[str, Any]]) -> list[str] | str:
    """The training files that a run's data.json names, or why they cannot be read again: gone, or changed since."""
    files: list[str] = []
    for entry in manifest:
        if entry.get("role") != "train":
            continue
        place = str(entry["path"])
        try:
            (source,) = find_files(place)
            if hash_source(source)[0] != entry["sha256"]:
                return f"the training file {place} has changed since the training"
        except (DataError, OSError, ValueError) as error:
            return f"the training file {place} cannot be read: {error}"
        files.append(place)
    return files or "the run names no training file"


def find_leaks(train: Sequence[Path | str], items: Sequence[Path | str]) -> LeakReport:
    """How many items the training rows ask exactly, and how many nearly. Raises DataError where a file is not there."""
    places = [path for place in train for path in resolve_place(place, "train")]
    report = check_places(
        {"train": places, "valid": [], "test": list(items)},
        (LeakedRows, LeakedPrompts, NearDuplicates),
        Context,
    )
    counts = {finding.name: finding.count for finding in report.findings}
    return LeakReport(
        num_items=sum(file.num_rows for file in report.files if file.split == "test"),
        exact=max(counts.get("test_rows_in_train", 0), counts.get("test_prompts_in_train", 0)),
        near=counts.get("test_near_duplicates_in_train", 0),
        train=tuple(str(place) for place in train),
    )
