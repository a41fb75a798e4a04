"""Divide files into train, valid and test: one pass that sees every row, one that writes each to its side.

Rows are written as they stood, in their order. Knows nothing of how rows are grouped and sides are chosen.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.finding import SPLITS, RowKey, SplitName
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.formats import FileFormat, recognise_file
from luthier.data.groups import Grouping, Groups
from luthier.data.rows import Row
from luthier.data.sources import OnBytes, SourceFile, find_all, read_every_row
from luthier.data.split import Division, assign
from luthier.data.write import check_output, write_rows
from luthier.errors import DataError
from luthier.files import write_json_atomic
from luthier.hashing import hash_file, hash_json

MANIFEST = "split.json"
MAX_STRATA = 1000
FAR_FROM_SHARE = 0.03

_CONTAINERS = frozenset({"jsonl", "json", "csv", "tsv", "parquet", "arrow"})
_SELF_PACKED = frozenset({"parquet", "arrow"})
_NO_LABEL = "(none)"


@dataclass
class _Seen:
    """What the first pass keeps: the stratum of each row, the fields that there were, the rows of each file."""

    strata: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    rows_of_file: list[int] = field(default_factory=list)
    with_family: int = 0
    with_label: int = 0
    fields: set[str] = field(default_factory=set)


def split_files(
    places: Sequence[str | Path],
    out: Path,
    division: Division,
    *,
    force: bool = False,
    on_bytes: OnBytes | None = None,
) -> dict[str, Any]:
    """Write train, valid and test and a manifest into the folder `out`; returns the manifest.

    Rows are written as they stood, in their order, in the container of the inputs (JSON lines where these differ).
    Raises DataError: a line that is no row, a field that no row has, a side without a row, an output that exists.
    """
    files = find_all(places)
    paths = _outputs(files, out, division)
    for path in (*paths.values(), out / MANIFEST):
        if path.name == MANIFEST:
            _check_manifest(path, force)
        else:
            check_output(path, force=force, inputs=[Path(file.place) for file in files])
    with tempfile.TemporaryDirectory(prefix="luthier-split-") as scratch:
        grouping = Grouping(Path(scratch), near_duplicates=division.near_duplicates)
        seen = _see(files, division, grouping, on_bytes)
        groups = grouping.groups()
    strata = np.array(seen.strata, np.int32)
    sides = assign(groups, division, strata if division.stratify else None)
    _refuse_empty(sides, groups, division)
    _write(files, paths, sides, seen, force, on_bytes)
    manifest = _manifest(files, paths, division, groups, sides, strata, seen)
    write_json_atomic(out / MANIFEST, manifest)
    return manifest


def _see(
    files: Sequence[SourceFile], division: Division, grouping: Grouping, on_bytes: OnBytes | None
) -> _Seen:
    """The first pass."""
    seen = _Seen()
    for file in files:
        seen.rows_of_file.append(0)
        file_format = recognise_file(row.value for row in _rows(file))
        for row in _rows(file, on_bytes):
            seen.rows_of_file[-1] += 1
            checked = _checked(row, file_format)
            family = row.value.get(division.group_by) if division.group_by else None
            seen.with_family += family is not None
            grouping.see(checked, None if family is None else _text(family))
            if len(seen.fields) < MAX_STRATA:
                seen.fields.update(row.value)
            if division.stratify:
                _note_label(seen, checked, division.stratify)
    for option, field_name, count in (
        ("--group-by", division.group_by, seen.with_family),
        ("--stratify", division.stratify, seen.with_label),
    ):
        if field_name is not None and not count:
            known = ", ".join(sorted(seen.fields)[:20])
            raise DataError(f"{option} {field_name}: no row has it; the rows' fields are {known}")
    return seen


def _note_label(seen: _Seen, row: CheckedRow, by: str) -> None:
    label = label_of(row, by)
    seen.with_label += label is not None
    seen.strata.append(seen.labels.setdefault(_NO_LABEL if label is None else label, len(seen.labels)))
    if len(seen.labels) > MAX_STRATA:
        raise DataError(
            f"{row.place}: --stratify {by} has over {MAX_STRATA:,} different values; expected a field with a few, such "
            "as a label"
        )


def label_of(row: CheckedRow, by: str) -> str | None:
    """The label of a row: its class (`label`), its tags (`tag`), or the value of a field; None where there is none."""
    if by == "label" and row.example is not None and row.example.label is not None:
        return row.example.label
    value = row.value.get("tag", row.value.get("tags")) if by == "tag" else row.value.get(by)
    if isinstance(value, list):
        return "+".join(sorted(_text(one) for one in value)) or None
    return None if value is None else _text(value)


def _checked(row: Row, file_format: FileFormat) -> CheckedRow:
    checked = check_row(row, RowKey(0, row.number), "train", file_format)
    if checked.defect is None:
        return checked
    return check_row(
        row, RowKey(0, row.number), "test", file_format
    )  # an evaluation item has no answer to train on


def _rows(file: SourceFile, on_bytes: OnBytes | None = None) -> Iterator[Row]:
    for row in read_every_row(file, on_bytes=on_bytes):
        if not isinstance(row, Row):
            raise DataError(
                f"{row.problem}. Put the line right, or remove it with `luthier data fix`, then split"
            )
        yield row


def _write(
    files: Sequence[SourceFile],
    paths: Mapping[SplitName, Path],
    sides: NDArray[np.uint8],
    seen: _Seen,
    force: bool,
    on_bytes: OnBytes | None,
) -> None:
    """The second pass: each row to its side. The three files take their names when all of them are whole."""
    with contextlib.ExitStack() as stack:
        inputs = [Path(file.place) for file in files]
        write: list[Callable[[Mapping[str, Any]], None]] = [
            stack.enter_context(write_rows(paths[name], force=force, inputs=inputs))
            if name in paths
            else _nowhere
            for name in SPLITS
        ]
        index = 0
        for file, num_rows in zip(files, seen.rows_of_file, strict=True):
            end = index + num_rows
            for row in _rows(file, on_bytes):
                if index == end:
                    break
                write[sides[index]](row.value)
                index += 1
            else:
                if index == end:
                    continue
            raise DataError(
                f"{file.place}: the file changed while it was read; split it again when it is whole"
            )


def _nowhere(row: Mapping[str, Any]) -> None:
    raise AssertionError("a side without a share was given a row")


def _outputs(files: Sequence[SourceFile], out: Path, division: Division) -> dict[SplitName, Path]:
    """Where each side that has a share is written."""
    kinds = {(file.kind, file.compression) for file in files}
    kind, compression = kinds.pop() if len(kinds) == 1 else ("jsonl", None)
    if kind not in _CONTAINERS:
        kind, compression = "jsonl", None
    ending = f".{kind}" + (f".{compression}" if compression and kind not in _SELF_PACKED else "")
    return {name: out / f"{name}{ending}" for name in SPLITS if division.shares.get(name, 0) > 0}


def _check_manifest(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise DataError(
            f"{path}: this folder holds a split; choose another folder, or write over it with --force"
        )


def _refuse_empty(sides: NDArray[np.uint8], groups: Groups, division: Division) -> None:
    num_groups = len(np.unique(groups.first))
    for index, name in enumerate(SPLITS):
        if division.shares.get(name, 0) > 0 and not np.any(sides == index):
            largest = int(np.unique(groups.first, return_counts=True)[1].max())
            raise DataError(
                f"{name} would have no row: the {len(sides):,} rows are {num_groups:,} groups that belong together "
                f"(the largest has {largest:,} rows), and the share of {name} is {division.shares[name]:.0%}. Give it "
                "a larger share or another --seed, or add rows that differ"
            )


def _manifest(
    files: Sequence[SourceFile],
    paths: Mapping[SplitName, Path],
    division: Division,
    groups: Groups,
    sides: NDArray[np.uint8],
    strata: NDArray[np.int32],
    seen: _Seen,
) -> dict[str, Any]:
    """What was divided, how, and what came of it: stable keys, the same bytes for the same rows."""
    leaders, sizes = np.unique(groups.first, return_counts=True)
    labels = list(seen.labels)
    told = {
        name: _side(path, sides == SPLITS.index(name), sides[leaders] == SPLITS.index(name), strata, labels)
        for name, path in paths.items()
    }
    return {
        "rows": len(sides),
        "groups": len(leaders),
        "largest_group": int(sizes.max()),
        "seed": division.seed,
        "shares": {name: division.shares.get(name, 0.0) for name in SPLITS},
        "group_by": division.group_by,
        "stratify": division.stratify,
        "near_duplicates": division.near_duplicates,
        "inputs": [
            {
                "path": file.place,
                "rows": rows,
                "hash": hash_file(Path(file.place)) if Path(file.place).is_file() else None,
            }
            for file, rows in zip(files, seen.rows_of_file, strict=True)
        ],
        "splits": told,
        "notes": list(_notes(told, sizes, division.shares, labels)),
    }


def _side(
    path: Path,
    rows: NDArray[np.bool_],
    groups: NDArray[np.bool_],
    strata: NDArray[np.int32],
    labels: Sequence[str],
) -> dict[str, Any]:
    """What one side came to: which rows and which groups are its own, by mask."""
    counted = np.bincount(strata[rows], minlength=len(labels)) if labels else ()
    return {
        "file": path.name,
        "rows": int(rows.sum()),
        "share": round(float(rows.mean()), 6),
        "groups": int(groups.sum()),
        "hash": hash_file(path),
        "labels": {label: int(count) for label, count in zip(labels, counted, strict=True)},
    }


def _notes(
    told: Mapping[SplitName, Any],
    sizes: NDArray[np.int64],
    shares: Mapping[SplitName, float],
    labels: Sequence[str],
) -> Iterator[str]:
    for name, one in told.items():
        if abs(one["share"] - shares[name]) > FAR_FROM_SHARE:
            yield (
                f"{name} has {one['share']:.1%} of the rows instead of {shares[name]:.0%}: rows that are alike stay "
                f"together, in {len(sizes):,} groups, the largest of {sizes.max():,} rows"
            )
    for label in labels:
        without = [name for name, one in told.items() if not one["labels"][label]]
        if without:
            total = sum(one["labels"][label] for one in told.values())
            yield f"label {label!r} has {total:,} rows in too few groups: none of them is in {', '.join(without)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else hash_json(value) if isinstance(value, dict) else str(value)
