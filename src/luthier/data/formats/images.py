"""Are the pictures that a row names there, and are they pictures? By their first bytes; nothing decodes them.

Knows nothing of formats. URLs and data: texts are not opened.
"""

import struct
from pathlib import Path

from luthier.data.example import Example

_ELSEWHERE = ("http://", "https://", "data:", "s3://", "gs://", "hf://")
_HEAD_BYTES = 64
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
# Start-of-frame markers: C0 to CF but for the tables C4, C8 and CC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def resolve_images(example: Example, folder: str | Path) -> list[str]:
    """What is wrong with the row's pictures, in words; paths are taken from `folder` (where the file of rows lies)."""
    problems = []
    for number, path in enumerate(example.images, start=1):
        if path.startswith(_ELSEWHERE):
            continue
        problem = _problem(Path(folder) / path.removeprefix("file://"))
        if problem is not None:
            problems.append(f"image {number}, {path!r:.120}: {problem}")
    return problems


def _problem(path: Path) -> str | None:
    try:
        if not path.exists():
            return f"no such file in {path.parent}"
        if not path.is_file():
            return "is not a file"
        return _problem_inside(path)
    except (OSError, ValueError) as error:  # a name too long, a NUL in it, no permission
        return f"cannot be opened ({error})"


def _problem_inside(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "the file is empty"
    kind = _kind(head)
    if kind is None:
        return "is not a picture (expected PNG, JPEG, GIF, WebP, BMP or TIFF)"
    size = _jpeg_size(path) if kind == "JPEG" else _size(kind, head)
    if size is not None and 0 in size:
        return f"the {kind} file is cut short, or a picture of no size"
    return None


def _kind(head: bytes) -> str | None:
    starts = {
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"GIF87a": "GIF",
        b"GIF89a": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
    }
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((kind for start, kind in starts.items() if head.startswith(start)), None)


def _size(kind: str, head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; (0, 0) where the header is cut short, None where it does not say."""
    places = {"PNG": (">II", 16), "GIF": ("<HH", 6), "BMP": ("<ii", 18)}
    if kind not in places:
        return None
    form, start = places[kind]
    if len(head) < start + struct.calcsize(form):
        return 0, 0
    width, height = struct.unpack_from(form, head, start)
    return abs(width), abs(height)


def _jpeg_size(path: Path) -> tuple[int, int]:
    """From the first frame; (0, 0) where the file ends before it."""
    with path.open("rb") as file:
        file.seek(2)
        while (marker := file.read(2)) and len(marker) == 2 and marker[0] == 0xFF:
            if marker[1] == 0xFF:  # a fill byte
                file.seek(-1, 1)
                continue
            if marker[1] in _JPEG_WITHOUT_LENGTH:
                continue
            segment = file.read(2)
            if len(segment) < 2:
                break
            if marker[1] in _JPEG_FRAMES:
                frame = file.read(5)
                return (0, 0) if len(frame) < 5 else struct.unpack(">HH", frame[1:])[::-1]
            file.seek(max(0, struct.unpack(">H", segment)[0] - 2), 1)
    return 0, 0
