"""Dataset versions: a folder each, made whole or not at all, never changed afterwards.

    datasets/<name>/<first 12 digits of the id>/
        manifest.json      id, name, parents, created, message, and of every file its split, sha256 and bytes
        <split>/<file>     the files, byte for byte
        ...                whatever else the maker of the version puts beside them

The folders are the truth; there is no index. To back up, copy them; to delete a version, remove its folder.
This file knows nothing of what a file holds: rows, formats and checks are its callers' matter.
"""

import difflib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from luthier.errors import DataError
from luthier.files import atomic_directory, fsync_path, write_json_atomic, write_text_atomic
from luthier.hashing import hash_file, hash_json, short_id
from luthier.registry.dataset_refs import NAME, Ref, parse_ref

MANIFEST_FORMAT = 1
_CHUNK_BYTES = 1 << 20


def dataset_id(splits: Mapping[str, Iterable[str]]) -> str:
    """The id of a set of files, from the sha256 of each file in each split.

    The hash of the canonical JSON of `{"format": 1, "splits": {split: sorted hashes}}`: names, places, times and
    the order of the files do not count. A split without files does not count either.
    """
    hashes = {split: sorted(files) for split, files in splits.items()}
    return hash_json(
        {"format": MANIFEST_FORMAT, "splits": {name: one for name, one in hashes.items() if one}}
    )


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A file of a version. `facts`: what the maker of the version noted about it."""

    path: Path
    sha256: str
    num_bytes: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that shall go into a version: `sha256` is what the bytes that `open` gives are known to be."""

    name: str
    open: Callable[[], IO[bytes]]
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A version that exists. Files of a split stand in the order of their hashes: on any machine the same."""

    folder: Path
    name: str
    id: str
    parents: tuple[str, ...]
    created: str
    message: str
    splits: Mapping[str, tuple[VersionFile, ...]]
    manifest: Mapping[str, Any]

    @property
    def short_id(self) -> str:
        return short_id(self.id)

    @property
    def ref(self) -> str:
        """`name@short id`, as a person would write it."""
        return f"{self.name}@{self.short_id}"

    def hashes(self) -> dict[str, list[str]]:
        """What the id is made of."""
        return {split: [file.sha256 for file in files] for split, files in self.splits.items()}


@dataclass(frozen=True)
class Store:
    """The folder that holds the versions of every name. It need not exist until something is added."""

    root: Path

    def names(self) -> list[str]:
        """The names that have versions."""
        return [folder.name for folder in _folders(self.root) if any(_folders(folder))]

    def versions(self, name: str) -> list[Version]:
        """The versions of a name, newest first, a child before its parents. Damaged ones are left out."""
        found = [one for one in self._read(name) if isinstance(one, Version)]
        return sorted(found, key=_age({version.id: version for version in found}), reverse=True)

    def damaged(self, name: str) -> list[str]:
        """Folders that stand where versions do and are none: what is wrong with each."""
        return [one for one in self._read(name) if isinstance(one, str)]

    def find(self, ref: Ref | str) -> Version:
        """The version that `NAME`, `NAME@ID`, `NAME@latest` or `NAME@...~N` names (N: how many parents back).

        Raises DataError that lists what there is: no such name, no such id, several ids that begin so.
        """
        wanted = parse_ref(ref) if isinstance(ref, str) else ref
        versions = self.versions(wanted.name)
        if not versions:
            raise DataError(f"{self.root}: no dataset is called {wanted.name!r}{self._instead(wanted.name)}")
        found = versions[0] if wanted.id is None else _one_of(versions, wanted)
        for _ in range(wanted.steps_back):
            found = _parent(versions, found, wanted)
        return found

    def _instead(self, name: str) -> str:
        """What is wrong or what else there is, to end a message with."""
        if broken := self.damaged(name):
            return f", or it is damaged: {'; '.join(broken)}"
        names = self.names()
        if not names:
            return ". There is none yet; make one: luthier data commit FILE --name NAME"
        near = difflib.get_close_matches(name, names, n=1)
        return f". Did you mean {near[0]!r}?" if near else f". There are: {', '.join(names)}"

    def add(
        self,
        name: str,
        splits: Mapping[str, Sequence[NewFile]],
        *,
        parents: Sequence[str] = (),
        message: str = "",
        details: Mapping[str, Any] | None = None,
        documents: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda manifest: {},
    ) -> tuple[Version, bool]:
        """Write a version; (the version, whether it is new). One with the same files is left as it is.

        `details` stand in the manifest beside the store's own keys; `documents` gives the texts to put beside the
        files, by name, from the finished manifest. Raises DataError: a bad name, a file that changed since it was
        hashed, a folder or a disk that cannot be written; nothing is left behind then.
        """
        if not NAME.fullmatch(name):
            raise DataError(
                f"dataset name {name!r}: expected a-z, 0-9, '.', '_', '-', at most 64, no sign first"
            )
        full_id = dataset_id({split: [file.sha256 for file in files] for split, files in splits.items()})
        folder = self.root / name / short_id(full_id)
        stood = [path for path in (self.root, self.root / name) if path.exists()]
        try:
            with atomic_directory(folder, replace=False) as new:
                manifest = {
                    "format": MANIFEST_FORMAT,
                    "id": full_id,
                    "name": name,
                    "parents": list(parents),
                    "created": datetime.now(UTC).isoformat(timespec="microseconds"),
                    "message": message,
                    "splits": {
                        split: _copy_all(new / split, files) for split, files in splits.items() if files
                    },
                    **(details or {}),
                }
                for document, text in documents(manifest).items():
                    write_text_atomic(new / document, text)
                write_json_atomic(new / "manifest.json", manifest)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.is_dir():
                return self.find(
                    Ref(name, short_id(full_id))
                ), False  # someone else was faster, with the same bytes
            self._remove_empty(name, stood)
            raise DataError(
                f"{folder}: cannot write the version, nothing was left behind: {error}"
            ) from error
        except BaseException:
            self._remove_empty(name, stood)
            raise
        for path in (self.root, self.root.resolve().parent):  # where the folders are new too
            fsync_path(path)
        return read_version(folder), True

    def _remove_empty(self, name: str, stood: Sequence[Path]) -> None:
        for path in (self.root / name, self.root):
            if path not in stood:
                with suppress(OSError):
                    path.rmdir()

    def _read(self, name: str) -> Iterator[Version | str]:
        for folder in _folders(self.root / name):
            try:
                yield read_version(folder)
            except DataError as error:
                yield str(error)


def read_version(folder: Path) -> Version:
    """The version in a folder. Raises DataError where its manifest is missing or is none."""
    path = folder / "manifest.json"
    try:
        raw = json.loads(path.read_bytes())
        if raw["format"] != MANIFEST_FORMAT:
            raise DataError(
                f"{path}: manifest format {raw['format']!r}; this Luthier reads {MANIFEST_FORMAT}"
            )
        splits = {
            split: tuple(
                VersionFile(folder / split / Path(one["name"]).name, one["sha256"], int(one["bytes"]), one)
                for one in files
            )
            for split, files in raw["splits"].items()
        }
        parents = tuple(str(parent) for parent in raw["parents"])
        return Version(folder, raw["name"], raw["id"], parents, raw["created"], raw["message"], splits, raw)
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the manifest of a version: {error.strerror or error}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: this is no manifest of a version: {type(error).__name__}: {error}"
        ) from error


def damage(version: Version, splits: Iterable[str] | None = None) -> list[str]:
    """What is no longer as it was committed, file by file; empty where all is well. Reads every byte.

    `splits` limits the look to the files of these; without it the id is computed again too.
    """
    problems = []
    if splits is None and dataset_id(version.hashes()) != version.id:
        problems.append(
            f"{version.folder / 'manifest.json'}: its files do not give its id {version.short_id}"
        )
    for split, files in version.splits.items():
        if splits is not None and split not in splits:
            continue
        for file in files:
            try:
                found = hash_file(file.path)
            except OSError as error:
                problems.append(f"{file.path}: cannot be read: {error.strerror or error}")
                continue
            if found != file.sha256:
                was, now = short_id(file.sha256), short_id(found)
                problems.append(
                    f"{file.path}: changed since it was committed (sha256 {now}..., was {was}...)"
                )
    return problems


def ancestors(versions: Iterable[Version], first: str) -> set[str]:
    """The ids from which a version came, its own among them."""
    by_id = {version.id: version for version in versions}
    found: set[str] = set()
    waiting = [first]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += by_id[one].parents if one in by_id else ()
    return found


def _copy_all(folder: Path, files: Sequence[NewFile]) -> list[dict[str, Any]]:
    """Copy the files of a split; their entries of the manifest, in the order of their hashes."""
    folder.mkdir(parents=True)
    entries = []
    for file in sorted(files, key=lambda one: (one.sha256, one.name)):
        target = _free_name(folder, file.name)
        digest, num_bytes = hashlib.sha256(), 0
        with file.open() as source, target.open("xb") as copy:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                num_bytes += copy.write(chunk)
        if "sha256:" + digest.hexdigest() != file.sha256:
            raise DataError(
                f"{file.name}: changed while it was committed; commit again when nothing writes to it"
            )
        entries.append({"name": target.name, "sha256": file.sha256, "bytes": num_bytes, **file.facts})
    return entries


def _free_name(folder: Path, name: str) -> Path:
    """A place for the file: another file of the same name gets a number before its endings."""
    stem, dot, endings = name.partition(".")
    numbered = (f"{stem}-{number}{dot}{endings}" for number in range(2, 1_000_000))
    return next(path for one in (name, *numbered) if not (path := folder / one).exists())


def _folders(folder: Path) -> list[Path]:
    """The folders inside; names with a dot first are half-written ones."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _one_of(versions: Sequence[Version], wanted: Ref) -> Version:
    matches = [one for one in versions if one.id.removeprefix("sha256:").startswith(str(wanted.id))]
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(f"{one.short_id} ({one.created[:10]})" for one in matches or versions)
    if matches:
        raise DataError(
            f"{wanted}: {len(matches)} versions begin with {wanted.id!r}: {listed}. Give more digits"
        )
    raise DataError(f"{wanted}: no version of {wanted.name} begins with {wanted.id!r}. There are: {listed}")


def _parent(versions: Sequence[Version], child: Version, wanted: Ref) -> Version:
    if not child.parents:
        raise DataError(f"{wanted}: {child.ref} has no parent, so there is nothing {wanted.steps_back} back")
    for version in versions:
        if version.id == child.parents[0]:
            return version
    raise DataError(
        f"{wanted}: the parent {short_id(child.parents[0])} of {child.ref} is no longer in the store"
    )


def _age(by_id: Mapping[str, Version]) -> Callable[[Version], tuple[str, int, str]]:
    """A key that sorts oldest first, a parent before its child even where a clock went backwards."""

    def key(version: Version) -> tuple[str, int, str]:
        line = [by_id[one] for one in ancestors(by_id.values(), version.id) if one in by_id]
        return max(one.created for one in line), len(line), version.id

    return key


def list_versions(root: Path) -> list[Version]:
    """Every version of every name: names in order, newest first within a name."""
    store = Store(root)
    return [version for name in store.names() for version in store.versions(name)]


def default_store() -> Path:
    """Where versions are kept unless one says otherwise: $LUTHIER_DATASETS, or `datasets` in the working folder."""
    return Path(os.environ.get("LUTHIER_DATASETS") or "datasets")


def holding(root: Path, splits: Mapping[str, Iterable[str]]) -> Version | None:
    """The newest version that has exactly these files (their sha256) in each of these splits; None where none has.

    A version with further splits counts: a run that read no test rows still used it.
    """
    wanted = {split: sorted(files) for split, files in splits.items() if files}
    found = [
        version
        for version in list_versions(root)
        if wanted and all(sorted(version.hashes().get(split, ())) == files for split, files in wanted.items())
    ]
    return max(found, key=lambda version: version.created, default=None)
