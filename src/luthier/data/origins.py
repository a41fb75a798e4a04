"""How a file was made, as far as it is written beside it: the records of `data mix`, `data split` and `data fix`.

A record's content hash and its small values are taken over; what it says is not judged. Knows nothing of rows.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.hashing import hash_file

_MAX_VALUE_CHARACTERS = 2_000
_MAX_RECORD_BYTES = 16 << 20


def origins(files: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The records beside some files (place, sha256): `{how, file, sha256, summary}`, each once, in the files' order.

    Where a record says which bytes it was written for, `of_these_bytes` says whether any of the files has them
    still. What lies there under such a name and is no record is passed over.
    """
    hashes = {sha256 for _, sha256 in files}
    found: dict[Path, dict[str, Any]] = {}
    for place, _ in files:
        for how, record in _records(Path(place)):
            if record in found or not record.is_file():
                continue
            summary = _counts(record) if record.suffix == ".jsonl" else _small_values(record)
            if summary is None:
                continue
            found[record] = {"how": how, "file": record.name, "sha256": hash_file(record), "summary": summary}
            if written_for := _written_for(summary):
                found[record]["of_these_bytes"] = bool(written_for & hashes)
    return list(found.values())


def _written_for(summary: Mapping[str, Any]) -> set[str]:
    """The files that a record tells of: that of a mix, those of a split."""
    splits = summary.get("splits")
    told = (
        [one.get("hash") for one in splits.values() if isinstance(one, Mapping)]
        if isinstance(splits, Mapping)
        else []
    )
    return {
        "sha256:" + one.removeprefix("sha256:")
        for one in (summary.get("sha256"), *told)
        if isinstance(one, str)
    }


def _records(file: Path) -> Iterator[tuple[str, Path]]:
    """Where the verbs write their records: beside the file that they made."""
    yield "luthier data mix", file.with_name(f"{file.name}.manifest.json")
    yield "luthier data split", file.with_name("split.json")
    yield "luthier data fix (rows removed)", file.with_name(f"{file.name}.removed.jsonl")
    yield "luthier data fix (rows changed)", file.with_name(f"{file.name}.changed.jsonl")


def _small_values(record: Path) -> dict[str, Any] | None:
    """The values that are no long lists; None where it is no JSON object."""
    if record.stat().st_size > _MAX_RECORD_BYTES:
        return {"bytes": record.stat().st_size}
    try:
        value = json.loads(record.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, Mapping):
        return None
    return {key: one for key, one in value.items() if len(json.dumps(one)) <= _MAX_VALUE_CHARACTERS}


def _counts(record: Path) -> dict[str, Any] | None:
    """How many rows, and for which reasons; None where a line is no JSON object."""
    reasons: Counter[str] = Counter()
    num_rows = 0
    with record.open("rb") as file:
        for line in file:
            try:
                told = json.loads(line)
                reasons.update(told["reasons"] if "reasons" in told else [told["reason"]])
                num_rows += 1
            except (ValueError, KeyError, TypeError, RecursionError):
                return None
    return {"rows": num_rows, "reasons": dict(reasons.most_common())}
