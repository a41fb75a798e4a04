"""The throwaway folder: names that may be put into it, a temporary one on the disk, and what is too much in it.

Knows nothing of programs.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from luthier.errors import SandboxError
from luthier.sandbox.words import Level, Limits


def contents(files: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """Files by name, as bytes. Raises SandboxError for a name that is not a relative path inside the workspace."""
    for name in files:
        path = PurePosixPath(name)
        if "\0" in name or not path.parts or path.is_absolute() or ".." in path.parts:
            raise SandboxError(f"file {name!r}: expected a relative path that stays in the workspace")
    return {
        name: content.encode(errors="surrogatepass") if isinstance(content, str) else content
        for name, content in files.items()
    }


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for levels without a file system of their own; whatever a program did to it, it goes."""
    folder = Path(tempfile.mkdtemp(prefix="luthier-sandbox-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():  # folders without rights for their own owner
            for place, _, _ in os.walk(folder):
                os.chmod(place, 0o700)
            shutil.rmtree(folder, ignore_errors=True)


def excess(level: Level, pids: list[int], folder: Path, limits: Limits) -> str:
    """What is more than the limits allow, in words; empty where nothing is.

    A tmpfs of bubblewrap has no limit on the number of its files, and a plain folder has none at all.
    """
    too_many = f"more than {limits.max_files} files"
    if level is Level.BUBBLEWRAP:
        return too_many if any(_num_inodes(pid) > limits.max_files for pid in pids) else ""
    if level is Level.NAMESPACES:
        return ""
    num_files, num_bytes = _size(folder, limits.max_files)
    if num_files > limits.max_files:
        return too_many
    return (
        f"more than {limits.max_workspace_bytes} bytes of files"
        if num_bytes > limits.max_workspace_bytes
        else ""
    )


def _num_inodes(pid: int) -> int:
    """Files in both places that a process behind bubblewrap can write to; 0 where it is not yet there."""
    try:
        states = [os.statvfs(f"/proc/{pid}/root/{place}") for place in ("tmp", "dev/shm")]
        if not os.path.isdir(f"/proc/{pid}/root/run/luthier"):
            return 0
    except OSError:
        return 0
    return sum(state.f_files - state.f_ffree for state in states)


def _size(folder: Path, most: int) -> tuple[int, int]:
    """(files, bytes on the disk); counting ends when there are more than `most` files."""
    num_files = num_bytes = 0
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            num_files += 1
            try:
                num_bytes += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
            if num_files > most:
                return num_files, num_bytes
    return num_files, num_bytes
