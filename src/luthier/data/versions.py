"""From files to a dataset version: hash them, check them, write down what they are, keep them.

The store keeps bytes; what is in them, the check report and the card come from here. Knows nothing of terminals.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from luthier import __version__
from luthier.data.card import write_card
from luthier.data.checks import Report, check_files
from luthier.data.checks.finding import SPLITS, SplitName
from luthier.data.origins import origins
from luthier.data.sources import SourceFile, find_files
from luthier.data.sources.streams import open_raw
from luthier.errors import DataError
from luthier.registry.dataset_refs import PREFIX, Ref, parse_ref
from luthier.registry.datasets import NewFile, Store, Version, ancestors, damage, dataset_id

_CHUNK_BYTES = 1 << 20
_FINDINGS_TOLD = 5

Place = str | Path
Check = Callable[..., Report]


@dataclass(frozen=True)
class Committed:
    """What became of a commit. `report` is None where the version was there already and nothing was checked."""

    version: Version
    is_new: bool
    report: Report | None


@dataclass(frozen=True)
class _Hashed:
    source: SourceFile
    sha256: str
    num_bytes: int


def commit(
    places: Mapping[SplitName, Sequence[Place]],
    name: str,
    store: Path,
    *,
    message: str = "",
    parent: str = "latest",
    licence: str = "",
    source: str = "",
    allow_errors: bool = False,
    check: Check = check_files,
) -> Committed:
    """Keep the files of each split as a version of `name`.

    `parent`: `latest`, `none`, or the id of a version of the same name. `check` reads the files and reports on them;
    hand in `check_files` with what it should know. Raises DataError: nothing to keep, errors in the data (unless
    `allow_errors`, which is recorded), and whatever `Store.add` raises. The files are only read.
    """
    files = {split: _hash_all(places.get(split, ())) for split in SPLITS}
    if not any(files.values()):
        raise DataError("nothing to commit: name a training file, or --valid or --test")
    full_id = dataset_id({split: [one.sha256 for one in some] for split, some in files.items()})
    if (there := _there_already(store, name, full_id)) is not None:
        return Committed(there, False, None)
    parents = _parents(Store(store), name, parent, full_id)
    report = check(*(list(places.get(split, ())) for split in SPLITS))
    if report.count("error") and not allow_errors:
        raise DataError(_refusal(report))
    details = _details(files, report, licence, source)
    new: dict[str, list[NewFile]] = {split: _new_files(split, some, report) for split, some in files.items()}
    as_json = json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n"
    version, is_new = Store(store).add(
        name,
        new,
        parents=parents,
        message=message,
        details=details,
        documents=lambda manifest: {"check.json": as_json, "card.md": write_card(manifest, report.to_dict())},
    )
    return Committed(version, is_new, report)


def _hash_all(places: Sequence[Place]) -> list[_Hashed]:
    hashed = []
    for place in places:
        for source in find_files(place):
            if source.kind == "hub":
                raise DataError(
                    f"{source.place}: a dataset of the hub has no bytes of its own to keep; write its rows to a file "
                    f"first: luthier data convert {source.place} rows.jsonl --to messages"
                )
            hashed.append(_Hashed(source, *hash_source(source)))
    return hashed


def hash_source(source: SourceFile) -> tuple[str, int]:
    """(sha256, bytes) of a file as it lies there, here or far away. Raises DataError where it cannot be read."""
    digest, num_bytes = hashlib.sha256(), 0
    with open_raw(source.place) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
    return "sha256:" + digest.hexdigest(), num_bytes


def _there_already(store: Path, name: str, full_id: str) -> Version | None:
    """The version that holds these files. Raises DataError where it is damaged: the bytes at hand could mend it."""
    for version in Store(store).versions(name):
        if version.id == full_id:
            if problems := damage(version):
                raise DataError(
                    f"these files are {version.ref} already, but it is damaged: {'; '.join(problems)}. "
                    f"Remove {version.folder}, then commit again"
                )
            return version
    return None


def _parents(store: Store, name: str, parent: str, full_id: str) -> list[str]:
    if parent == "none":
        return []
    versions = store.versions(name)
    if parent == "latest":
        # A version that was removed and comes back may be what the others came from: it is no child of theirs.
        fitting = (one for one in versions if full_id not in ancestors(versions, one.id))
        return [one.id for one in fitting][:1]
    ref = parse_ref(parent if "@" in parent else f"{name}@{parent.removeprefix('@')}")
    if ref.name != name:
        raise DataError(
            f"--parent {parent}: a parent has the same name, {name}; say in --source where rows came from"
        )
    found = store.find(Ref(ref.name, ref.id, ref.steps_back))
    if full_id in ancestors(versions, found.id):
        raise DataError(f"--parent {parent}: {found.ref} came from these very files; choose another, or none")
    return [found.id]


def _refusal(report: Report) -> str:
    errors = [finding for finding in report.findings if finding.severity == "error"]
    told = "".join(f"\n  {one.name} ({one.split}): {one.message}" for one in errors[:_FINDINGS_TOLD])
    more = f"\n  and {len(errors) - _FINDINGS_TOLD} more" if len(errors) > _FINDINGS_TOLD else ""
    count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
    return (
        f"the check found {count}, so nothing was committed:{told}{more}\n"
        "See rows and advice: luthier data check with the same files. Put them right (luthier data fix), or commit "
        "them as they are with --allow-errors; the version says so then"
    )


def _new_files(split: SplitName, files: Sequence[_Hashed], report: Report) -> list[NewFile]:
    summaries = [one for one in report.files if one.split == split]
    new = []
    for file, summary in zip(files, summaries, strict=True):  # both in the order of `find_files`
        facts = {
            "rows": summary.num_rows,
            "distinct_rows": summary.num_distinct_rows,
            "format": ", ".join(sorted(summary.shapes, key=lambda shape: -summary.shapes[shape])),
            "read_as": file.source.kind,
        }
        opener = partial(open_raw, file.source.place)
        new.append(NewFile(Path(file.source.place).name, opener, file.sha256, facts))
    return new


def _details(
    files: Mapping[SplitName, Sequence[_Hashed]], report: Report, licence: str, source: str
) -> dict[str, Any]:
    everything = [file for some in files.values() for file in some]
    rows = {split: sum(one.num_rows for one in report.files if one.split == split) for split in SPLITS}
    return {
        "totals": {
            "files": len(everything),
            "bytes": sum(file.num_bytes for file in everything),
            "rows": {split: count for split, count in rows.items() if files.get(split)},
        },
        "check": {
            "word": report.word,
            "errors": report.count("error"),
            "warnings": report.count("warning"),
            "notes": report.count("note"),
        },
        "images_not_kept": sum(sum(counts.values()) for counts in report.figures.get("images", {}).values()),
        "licence": licence.strip(),
        "source": source.strip(),
        "made_by": origins([(file.source.place, file.sha256) for file in everything]),
        "luthier": __version__,
    }


def check_word(version: Version) -> str:
    """What the check said when the version was committed: clean, warnings or errors (which were allowed then)."""
    return str(version.manifest.get("check", {}).get("word", "unknown"))


def describe(version: Version) -> dict[str, Any]:
    """A version as JSON values with stable keys."""
    return {
        "name": version.name,
        "id": version.id,
        "short_id": version.short_id,
        "place": f"{PREFIX}{version.ref}",
        "folder": str(version.folder),
        "created": version.created,
        "message": version.message,
        "parents": list(version.parents),
        "rows": dict(version.manifest.get("totals", {}).get("rows", {})),
        "bytes": sum(file.num_bytes for files in version.splits.values() for file in files),
        "check": check_word(version),
    }
