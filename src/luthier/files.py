"""Outputs appear whole or not at all: written beside, fsynced, renamed.

A reader never sees half a file, and a full disk leaves what was there before.
After the rename the parent folder is fsynced too, so that the new name survives a power cut.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def cache_folder(name: str) -> Path:
    """Where what can be computed again is kept: `name` in LUTHIER_CACHE, or in `luthier` in the user's cache folder."""
    if root := os.environ.get("LUTHIER_CACHE"):
        return Path(root) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "luthier" / name


def file_name(text: str) -> str:
    """Any text, a model's name or an address, as part of a file's name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in text.strip("./")) or "unnamed"


def fsync_path(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`; on any failure the old content stays and nothing is left beside it."""
    with atomic_file(path) as file:
        file.write(data)


def write_text_atomic(path: Path, text: str) -> None:
    """`write_bytes_atomic` for a text, as UTF-8."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: Path, value: Any) -> None:
    """`write_bytes_atomic` for a JSON value, indented for people."""
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def atomic_directory(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A folder to fill; it takes the name `path` only when the block ends well.

    An existing folder of that name is replaced: moved aside first, removed when the new one stands.
    Without `replace` it stays, and OSError (ENOTEMPTY) is raised at the end: of two writers the first one wins.
    """
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: expected a folder or nothing, got a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    beside.mkdir()
    try:
        yield beside
        for item in sorted(beside.rglob("*")):
            fsync_path(item)
        fsync_path(beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    aside = _beside(path) if replace and path.exists() else None
    try:
        if aside is not None:
            os.replace(path, aside)
        os.replace(beside, path)
    except BaseException:
        if aside is not None and aside.exists():
            os.replace(aside, path)
        shutil.rmtree(beside, ignore_errors=True)
        raise
    fsync_path(path.parent)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A name to write to, for libraries that open files themselves; renamed to `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    try:
        yield beside
        fsync_path(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write piece by piece; it takes the name `path` only when the block ends well."""
    with atomic_path(path) as beside, beside.open("wb") as file:
        yield file


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock on `path` (an empty file, made if missing) against other processes; gives whether it is held.

    Any number may hold it `shared`, or one alone. Without `wait` it may be refused. The system lets go of it when the
    process ends, however it ends.
    """
    import fcntl  # here: Windows has none, and only who locks needs it

    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, kind)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
