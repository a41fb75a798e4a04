"""Lines of a file with their numbers and byte offsets; encodings; the places where a file of lines can be cut.

A line that is too long is counted and passed over, never held. Knows nothing of what stands in a line.
"""

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from luthier.data.rows import Defect
from luthier.data.sources.source import (
    BLOCK_BYTES,
    MAX_LINE_BYTES,
    OnBytes,
    OtherEncoding,
    Shard,
    SourceFile,
)
from luthier.data.sources.streams import ByteStream, raw_size

BOM = b"\xef\xbb\xbf"
REPAIR = "luthier.repair"  # the error handler of decoding that reads stray bytes as Windows-1252
# UTF-32 stands first: its mark begins with the one of UTF-16
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class Source(Protocol):
    """Bytes from front to back."""

    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(slots=True)
class Block:
    """Whole lines: the number of the first, its byte offset, and the lines in one piece, without the last newline.

    too_long: the length of one line that was passed over; then there is no data.
    """

    first_number: int
    offset: int
    data: bytes
    newline: bytes
    too_long: int = 0


@dataclass(slots=True)
class Line:
    """One line as text, its newline kept; with `defect` it could not be read, and `reason` says why."""

    number: int
    text: str
    defect: Defect | None = None
    reason: str = ""


def encoding_by_mark(head: bytes) -> str | None:
    """UTF-16 or UTF-32, where the first bytes say so."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)


@contextmanager
def open_text(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Source]:
    """The bytes of a text file as UTF-8. Raises OtherEncoding for UTF-16 unless the encoding is repaired."""
    with ByteStream(file, start=shard.start if shard else 0, on_bytes=on_bytes) as stream:
        if shard is not None:
            yield _Piece(stream, shard.end - shard.start)
            return
        first = stream.read(BLOCK_BYTES)
        encoding = encoding_by_mark(first)
        if encoding is None:
            yield _Again(first, stream.read)
        elif file.repair_encoding:
            yield _Transcoded(first, stream.read, encoding)
        else:
            raise OtherEncoding(encoding)


def line_blocks(stream: Source, first_number: int = 1, offset: int = 0) -> Iterator[Block]:
    """The lines of a stream in blocks. A file without a newline but with carriage returns is cut at those."""
    number = first_number
    newline: bytes | None = None
    begun, length = bytearray(), 0  # the line that goes on in the next block; not held once it is too long
    while block := stream.read(BLOCK_BYTES):
        newline = newline or newline_of(block)
        cut = block.rfind(newline)
        if cut >= 0:
            data: bytes | None = bytes(begun) + block[:cut]
            end = block.find(newline)
            if length + end > MAX_LINE_BYTES:
                yield Block(number, offset, b"", newline, too_long=length + end)
                number, offset = number + 1, offset + length + end + 1
                data = block[end + 1 : cut] if end < cut else None
            if data is not None:
                yield Block(number, offset, data, newline)
                number, offset = number + data.count(newline) + 1, offset + len(data) + 1
            begun.clear()
            length, block = 0, block[cut + 1 :]
        length += len(block)
        if length <= MAX_LINE_BYTES:
            begun += block
        else:
            begun.clear()
    if length > MAX_LINE_BYTES:
        yield Block(number, offset, b"", newline or b"\n", too_long=length)
    elif length:
        yield Block(number, offset, bytes(begun), newline or b"\n")


def text_lines(file: SourceFile, on_bytes: OnBytes | None = None) -> Iterator[Line]:
    """Every line of a text file, blank ones too. Raises OtherEncoding and DataError."""
    with open_text(file, on_bytes=on_bytes) as stream:
        for block in line_blocks(stream):
            if block.too_long:
                yield Line(block.first_number, "\n", "too_large", too_large(block.too_long))
                continue
            offset = block.offset
            for number, line in enumerate(block.data.split(block.newline), block.first_number):
                bom = len(BOM) if number == 1 and line.startswith(BOM) else 0
                try:
                    yield Line(number, line[bom:].decode() + "\n")
                except UnicodeDecodeError as error:
                    if file.repair_encoding:
                        yield Line(number, repaired(line[bom:]) + "\n")
                    else:
                        text = line[bom:].decode(errors="replace") + "\n"
                        yield Line(
                            number, text, "not_utf8", not_utf8(offset + bom + error.start, error.reason)
                        )
                offset += len(line) + 1


def newline_of(block: bytes) -> bytes:
    """What ends a line, told by the first block of a file: `\\n` (after `\\r` or not), or a lone `\\r`."""
    return b"\r" if b"\n" not in block and b"\r" in block.rstrip() else b"\n"


def repaired(data: bytes) -> str:
    """The bytes as UTF-8, and what is not UTF-8 among them as Windows-1252."""
    return data.decode("utf-8", errors=REPAIR)


def too_large(num_bytes: int) -> str:
    """The reason of a line that is too long."""
    return f"{num_bytes:,} bytes; a line may have {MAX_LINE_BYTES:,}. It was not read"


def not_utf8(offset: int, reason: str) -> str:
    """The reason of a line that is not UTF-8; `offset` is the byte of the file."""
    return f"not UTF-8 at byte {offset} of the file: {reason}; save the file as UTF-8"


def cut_lines(file: SourceFile, max_bytes: int) -> list[Shard] | None:
    """Pieces of about `max_bytes` of a file of lines, cut after newlines, with the number of their first lines.

    Reads the file once, without parsing. None where it is packed, small, blank or not cut by `\\n`.
    """
    size = raw_size(file.place) if file.compression is None else None
    if size is None or size <= max_bytes:
        return None
    found: list[Shard] = []
    start, number, position, newlines, text = 0, 1, 0, 0, False
    with ByteStream(file) as stream:
        while block := stream.read(4 * BLOCK_BYTES):
            if position == 0 and (encoding_by_mark(block) or newline_of(block) == b"\r"):
                return None
            text = text or not block.isspace()
            begin = 0
            while position + len(block) - start >= max_bytes:
                cut = block.find(b"\n", max(begin, start + max_bytes - position - 1))
                if cut < 0:
                    break
                newlines += block.count(b"\n", begin, cut + 1)
                found.append(Shard(start, position + cut + 1, number))
                start, number, begin, newlines = position + cut + 1, number + newlines, cut + 1, 0
            newlines += block.count(b"\n", begin)
            position += len(block)
    if position > start:
        found.append(Shard(start, position, number))
    return found if text else None


def _cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    stray = error.object[error.start : error.end]
    try:
        return stray.decode("cp1252"), error.end
    except UnicodeDecodeError:  # five bytes mean nothing there
        return stray.decode("latin-1"), error.end


codecs.register_error(REPAIR, _cp1252)


class _Piece:
    """The next `left` bytes of a stream."""

    def __init__(self, stream: ByteStream, left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        block = self._stream.read(min(size, self._left)) if self._left > 0 else b""
        self._left -= len(block)
        return block


class _Again:
    """A stream whose first block was already taken."""

    def __init__(self, first: bytes, read: Callable[[int], bytes]) -> None:
        self._first, self._read = first, read

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        block, self._first = self._first, b""
        return block or self._read(size)


class _Transcoded(_Again):
    """A stream of UTF-16 or UTF-32 as UTF-8; what cannot be decoded becomes U+FFFD."""

    def __init__(self, first: bytes, read: Callable[[int], bytes], encoding: str) -> None:
        super().__init__(first, read)
        self._decode = codecs.getincrementaldecoder(encoding)(errors="replace").decode

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        while block := super().read(size):
            if text := self._decode(block):
                return text.encode("utf-8", errors="replace")
        return self._decode(b"", True).encode("utf-8", errors="replace")
