"""The bytes of one file, unpacked, from front to back.

A packed file that unpacks to far more than it could hold is refused before it fills a machine.
Knows nothing of lines and rows.
"""

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from luthier.data.sources.remote import is_remote, open_remote, remote_size, unreachable
from luthier.data.sources.source import (
    BLOCK_BYTES,
    HEAD_BYTES,
    MAX_RATIO,
    MAX_UNPACKED_BYTES,
    OnBytes,
    SourceFile,
)
from luthier.errors import DataError


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ByteStream:
    """The unpacked bytes of a file, from byte `start` on (only where it is not packed).

    `on_bytes` is told what was read of the file as it lies on the disk. Raises DataError, on opening and on
    reading: no such file, damaged, cut short, a bomb.
    """

    def __init__(self, file: SourceFile, *, start: int = 0, on_bytes: OnBytes | None = None) -> None:
        self._place = file.place
        self._on_bytes = on_bytes
        self._reported = 0
        self._unpacked = 0
        self._raw = _Counted(open_raw(file.place))
        with self._said():
            if start:
                self._raw.seek(start)
            self._reader = _unpacker(self._raw, file.compression)
        self._packed = file.compression is not None

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        with self._said():
            block: bytes = self._reader.read(size)
        if self._packed:
            self._unpacked += len(block)
            self._refuse_bomb()
        if self._on_bytes is not None and self._raw.count > self._reported:
            self._on_bytes(self._raw.count - self._reported)
            self._reported = self._raw.count
        return block

    def _refuse_bomb(self) -> None:
        ratio = self._unpacked / max(self._raw.count, 1)
        if self._unpacked > MAX_UNPACKED_BYTES and ratio > MAX_RATIO:
            raise DataError(
                f"{self._place}: the compressed file unpacks to more than {MAX_RATIO} times its size ({ratio:,.0f} "
                f"times after {self._unpacked >> 20} MiB), as a zip bomb does. If it is meant, unpack it yourself"
            )

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise _damaged(self._place, error) from error
        except OSError as error:
            if error.errno is None and self._raw.count and not is_remote(self._place):
                raise _damaged(
                    self._place, error
                ) from error  # what unpacks zst says OSError without a number
            raise _unreadable(self._place, error) from error
        except Exception as error:  # a remote backend raises its own
            if is_remote(self._place):
                raise unreachable(self._place, error) from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()


class _Counted(io.RawIOBase):
    """A file that counts what was read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        block = self._file.read(size)
        self.count += len(block)
        return block

    def readinto(self, buffer: Any, /) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_raw(place: str) -> IO[bytes]:
    """The bytes as they lie there. Raises DataError: no such file, a folder, a pipe, no access."""
    if is_remote(place):
        return open_remote(place)
    try:
        mode = os.stat(place).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{place}: expected a file, got a folder")
        if not stat.S_ISREG(mode):
            raise DataError(
                f"{place}: expected a file, got a pipe or a device; write its rows to a file first"
            )
        return open(place, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"no such data file: {place}") from error
    except (OSError, ValueError) as error:
        raise _unreadable(place, error) from error


def raw_size(place: str) -> int | None:
    """The size of the file as it lies there, in bytes; None where that is not known. Raises DataError."""
    if is_remote(place):
        return remote_size(place)
    try:
        return Path(place).stat().st_size
    except (OSError, ValueError) as error:
        raise _unreadable(place, error) from error


def read_head(file: SourceFile, size: int = HEAD_BYTES) -> bytes:
    """The first unpacked bytes of a file, `size` of them where it has so many."""
    with ByteStream(file) as stream:
        return _up_to(stream, size)


def refuse_bomb(file: SourceFile) -> None:
    """Look for a bomb before any row is read: unpack as much as shows one at the front of the file.

    Costs milliseconds for a file that packs as text does. Raises DataError.
    """
    if file.compression is None:
        return
    try:
        with ByteStream(file) as stream:
            while stream._raw.count <= MAX_UNPACKED_BYTES // MAX_RATIO and stream.read(1 << 20):
                pass
    except _Damaged:
        return  # told by whoever reads the rows, who has those before the damage


def _up_to(stream: _Readable, size: int) -> bytes:
    blocks: list[bytes] = []
    while size > 0 and (block := stream.read(min(size, BLOCK_BYTES))):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def _unpacker(raw: _Counted, compression: str | None) -> _Readable:
    if compression == "gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if compression == "zst":
        import pyarrow as pa  # unlike zstandard's reader, it says so when the last frame is cut short

        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")  # type: ignore[no-any-return]
    return raw


class _Damaged(DataError):
    """A compressed file that cannot be unpacked to its end."""


def _damaged(place: str, error: Exception) -> _Damaged:
    return _Damaged(f"{place}: the compressed file is damaged or cut short: {error}")


def _unreadable(place: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or error
    return DataError(f"{place}: cannot read the data file: {reason}")
