"""Files kept by their content: the same bytes are stored once, under their hash, and never change.

    <root>/ab/abcdef...      the bytes whose sha256 is abcdef...

The root is a folder, or any URL that fsspec knows (s3://, gs://, memory://). Adding is safe at any moment: a file
appears whole under its name or not at all. Knows nothing of what the bytes are.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from luthier.errors import RegistryError
from luthier.files import atomic_file
from luthier.hashing import hash_file

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that are kept: `id` is `sha256:...` of them."""

    id: str
    num_bytes: int


class Artifacts:
    """The files under one root; it need not exist until something is added."""

    def __init__(self, root: Path | str) -> None:
        """Raises RegistryError where nothing that is installed reaches the root."""
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(str(root))
        except (ImportError, ValueError) as error:
            raise RegistryError(
                f'{root}: cannot be reached: {error}. For s3:// it is: pip install "luthier[s3]"'
            ) from error
        self.root = str(root)
        self._local = Path(self._root) if "file" in _protocols(self._fs) else None

    def add(self, path: Path) -> Artifact:
        """Keep a file's bytes. Raises RegistryError: unreadable, changing meanwhile, or no room."""
        try:
            artifact = Artifact(hash_file(path), path.stat().st_size)
            if self.holds(artifact):
                return artifact
            with path.open("rb") as source:
                copied = self._write(artifact, source)
        except OSError as error:
            raise RegistryError(f"{path}: cannot be kept in {self.root}: {error}") from error
        if copied != artifact.id:
            raise RegistryError(
                f"{path}: changed while it was being kept; try again when nothing writes to it"
            )
        return artifact

    def holds(self, artifact: Artifact) -> bool:
        """Whether the bytes are here, by name and size; `damage` reads them. Raises RegistryError: the root is away."""
        self._fs.invalidate_cache()  # another process may have removed them since
        with self._reached():
            try:
                return int(self._fs.info(self._place(artifact.id))["size"]) == artifact.num_bytes
            except FileNotFoundError:
                return False

    def open(self, artifact: Artifact) -> IO[bytes]:
        """The bytes to read. Raises RegistryError where they are gone."""
        try:
            with self._reached():
                opened: IO[bytes] = self._fs.open(self._place(artifact.id), "rb")
        except OSError as error:
            raise RegistryError(f"{artifact.id}: is no longer in the store: {error}") from error
        return opened

    def copy(self, artifact: Artifact, target: Path) -> None:
        """Write the bytes to `target`. Raises RegistryError where they are not what they were."""
        with self._reached(), self.open(artifact) as source, atomic_file(target) as out:
            if _copy(source, out) != artifact.id:
                raise RegistryError(
                    f"{artifact.id}: its bytes in the store have changed; restore it from a copy"
                )

    def damage(self, artifact: Artifact) -> str | None:
        """What is wrong with the bytes, None where nothing is. Reads all of them."""
        try:
            with self._reached(), self.open(artifact) as source:
                found = _copy(source, None)
        except (RegistryError, OSError) as error:
            return str(error)
        return (
            None if found == artifact.id else f"{artifact.id}: its bytes have changed (they are {found} now)"
        )

    def ids(self) -> Iterator[str]:
        """The ids of all that is here."""
        self._fs.invalidate_cache()
        with self._reached():
            places = self._fs.find(self._root) if self._fs.exists(self._root) else []
        for place in places:
            name = place.rsplit("/", 1)[-1]
            if len(name) == 64 and not name.startswith("."):
                yield f"sha256:{name}"

    def remove(self, id: str) -> None:
        """Forget the bytes; nothing happens where they are not here."""
        with self._reached():
            if self._fs.exists(self._place(id)):
                self._fs.rm_file(self._place(id))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Each object store's library has errors of its own; here they become one."""
        try:
            yield
        except (RegistryError, OSError, _OtherBytes):
            raise
        except Exception as error:
            if self._local is not None:
                raise
            raise RegistryError(f"{self.root}: does not answer: {error}") from error

    def _place(self, id: str) -> str:
        digest = id.removeprefix("sha256:")
        return f"{self._root}/{digest[:2]}/{digest}"

    def _write(self, artifact: Artifact, source: IO[bytes]) -> str:
        """Copy under the artifact's name if the bytes are what they are called; returns what they are."""
        place = self._place(artifact.id)
        if self._local is None:  # object stores show a file when it is whole
            with self._reached(), self._fs.open(place, "wb") as out:
                found = _copy(source, out)
            if found != artifact.id:
                self._fs.rm_file(place)
            return found
        try:
            with atomic_file(Path(place)) as out:
                found = _copy(source, out)
                if found != artifact.id:
                    raise _OtherBytes(found)
                os.fchmod(out.fileno(), 0o444)
        except _OtherBytes as error:
            return error.id
        return found


class _OtherBytes(Exception):
    """The bytes are not those that were hashed before."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


def _copy(source: IO[bytes], out: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return f"sha256:{digest.hexdigest()}"


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
