"""A specialist in one file: a tar archive with its manifest, its records and its files.

    specialist.json    the manifest and the records
    files/<path>       the files of the bundle

Whoever reads one trusts nothing in it: paths that leave the bundle, links, files that are missing, too many or not what
the manifest says are refused, and nothing enters the store then. Knows nothing of what a file holds.
"""

import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from luthier.errors import RegistryError
from luthier.files import atomic_file
from luthier.hashing import hash_file
from luthier.registry.specialist import MANIFEST_FORMAT, Specialist, check_name, manifest_id
from luthier.registry.specialists import SpecialistStore

_HEAD = "specialist.json"
_FILES = "files/"
_MAX_HEAD_BYTES = 64 << 20


def export_archive(store: SpecialistStore, specialist: Specialist, path: Path) -> None:
    """Write a version and what became known about it to one file. Raises RegistryError where its bytes are damaged."""
    head = {"manifest": dict(specialist.manifest), "records": store.records(specialist)}
    with atomic_file(path) as out, tarfile.open(fileobj=out, mode="w") as archive:
        _add(archive, _HEAD, json.dumps(head, ensure_ascii=False).encode())
        with tempfile.TemporaryDirectory() as scratch:
            for name, artifact in specialist.files.items():
                whole = Path(scratch) / "file"
                store.artifacts.copy(artifact, whole)  # held against its hash
                entry = tarfile.TarInfo(_FILES + name)
                entry.size = artifact.num_bytes
                with whole.open("rb") as source:
                    archive.addfile(entry, source)


def import_archive(store: SpecialistStore, path: Path, name: str | None = None) -> tuple[Specialist, bool]:
    """Read one into the store, under its own name or another; (the version, whether it is new).

    Raises RegistryError.
    """
    with tempfile.TemporaryDirectory() as scratch:
        head = _unpack(path, Path(scratch))
        manifest = head["manifest"]
        listed = manifest["files"]
        parts = {one: Path(scratch) / _FILES / one for one in listed}
        _check_files(path, Path(scratch) / _FILES, listed)
        details = {key: value for key, value in manifest.items() if key not in ("files", "created", "name")}
        chosen = name or str(manifest.get("name"))
        check_name("specialist", chosen)
        if manifest_id(manifest) != manifest_id({**details, "files": listed}):
            raise RegistryError(f"{path}: its manifest does not give its own id")
        specialist, new = store.commit(chosen, parts, details)
    if new:
        for record in head["records"]:
            store.attach(specialist, str(record["kind"]), {**record["body"], "imported": True})
    return specialist, new


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _unpack(path: Path, folder: Path) -> dict[str, Any]:
    """The head; the files stand under `folder`/files afterwards."""
    head: Any = None
    try:
        with tarfile.open(path, mode="r:") as archive:
            for entry in archive:
                if not entry.isfile():
                    raise RegistryError(
                        f"{path}: {entry.name!r} is no file; an archive of ours holds only files"
                    )
                source = archive.extractfile(entry)
                assert source is not None
                if entry.name == _HEAD:
                    if entry.size > _MAX_HEAD_BYTES:
                        raise RegistryError(f"{path}: {_HEAD} is larger than {_MAX_HEAD_BYTES >> 20} MiB")
                    head = json.loads(source.read())
                    continue
                target = folder / _inside(path, entry.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:
                    while chunk := source.read(1 << 20):
                        out.write(chunk)
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise RegistryError(f"{path}: cannot read the archive: {error}") from error
    if not _is_head(head):
        raise RegistryError(
            f"{path}: expected an archive of a specialist of format {MANIFEST_FORMAT} (luthier specialists export)"
        )
    return dict(head)


def _is_head(head: Any) -> bool:
    return (
        isinstance(head, dict)
        and isinstance(head.get("manifest"), dict)
        and head["manifest"].get("format") == MANIFEST_FORMAT
        and isinstance(head["manifest"].get("files"), dict)
        and isinstance(head.get("records"), list)
        and all(
            isinstance(one, dict) and isinstance(one.get("body"), dict) and "kind" in one
            for one in head["records"]
        )
    )


def _inside(path: Path, name: str) -> str:
    parts = PurePosixPath(name)
    if not name.startswith(_FILES) or parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise RegistryError(f"{path}: the path {name!r} leaves the bundle; refused")
    return name


def _check_files(path: Path, folder: Path, listed: Mapping[str, Any]) -> None:
    found = (
        {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        if folder.is_dir()
        else set()
    )
    if found != set(listed):
        differing = ", ".join(sorted(found ^ set(listed))[:5])
        raise RegistryError(f"{path}: its files are not those of its manifest: {differing}")
    for name, told in listed.items():
        if not isinstance(told, dict) or hash_file(folder / name) != told.get("sha256"):
            raise RegistryError(f"{path}: {name} is not what the manifest says: the archive is damaged")
