"""Pictures: as many as marks, wherever they are named; and what is wrong with their files."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from luthier.data.formats import FORMATS, read_example, resolve_images
from luthier.errors import DataError

_ANSWER = {"role": "assistant", "content": "A cat."}


def _row(content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}, _ANSWER], **fields}


@pytest.mark.parametrize(
    "row",
    [
        _row("<image>What?", images=["a.png"]),
        _row("<image>What?", images='["a.png"]'),
        _row("<image>What?", image="a.png"),
        _row("<image>What?", images=[{"path": "a.png", "bytes": None}]),
        _row([{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]),
        _row([{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "What?"}]),
        _row([{"type": "image"}, {"type": "text", "text": "What?"}], images=["a.png"]),
        {
            "conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A cat."}],
            "image": "a.png",
        },
    ],
)
def test_every_way_to_name_a_picture(row: dict[str, Any]) -> None:
    _, example = read_example(row, where="f:1")
    assert (
        example.images == ("a.png",) and example.messages[0].content == "<image>What?" and not example.extra
    )
    for name in ("messages", "sharegpt"):
        assert not FORMATS[name].loses(example)
        back = FORMATS[name].read(FORMATS[name].write(example))
        assert (back.images, back.messages) == (example.images, example.messages)
    assert FORMATS["prompt/completion"].loses(example) == ["images"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_row("<image>What?", images=[]), "0 images for 1 <image> marks"),
        (_row("What?", images=["a.png"]), "1 images for 0 <image> marks"),
        (_row("<image>", images=[3]), "field 'images', image 1: expected a path or URL, got 3"),
        (_row([{"type": "image", "image": "a.png"}], images=["a.png"]), "name their images themselves"),
        (_row([{"type": "image", "image": {"bytes": "..."}}]), "an image part: expected a path or URL"),
    ],
)
def test_pictures_that_do_not_match(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_example(row, where="f:1")


def test_a_text_about_the_mark_needs_no_picture() -> None:
    assert read_example(_row("What does <image> mean in SVG?"), where="f:1")[1].images == ()


def _png(width: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def _jpeg(end: int | None = None) -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, 4, 6)
    return (b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"xx" + frame + b"\0" * 20)[:end]


def test_files_are_opened(tmp_path: Path) -> None:
    files = {
        "good.png": _png(3),
        "good.jpg": _jpeg(),
        "good.gif": b"GIF89a" + struct.pack("<HH", 2, 2),
        "good.webp": b"RIFF\x04\0\0\0WEBP",
        "flat.png": _png(0),
        "cut.png": _png(3)[:18],
        "cut.jpg": _jpeg(12),
        "text.png": b"<html>",
        "empty.png": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    names = [*files, "absent.png", "folder.png", "a\0b", "https://x.org/y.png", str(tmp_path / "good.png")]
    _, example = read_example(_row("<image>" * len(names), images=names), where="f:1")
    problems = resolve_images(example, tmp_path)
    said = dict(problem.split(", ", 1)[1].split(": ", 1) for problem in problems)
    assert {name: words.split(" ")[0] for name, words in said.items()} == {
        "'flat.png'": "the",
        "'cut.png'": "the",
        "'cut.jpg'": "the",
        "'text.png'": "is",
        "'empty.png'": "the",
        "'absent.png'": "no",
        "'folder.png'": "is",
        "'a\\x00b'": "no",
    }
    assert "is not a picture" in said["'text.png'"] and "cut short" in said["'cut.jpg'"]
    assert problems[0].startswith("image 5, 'flat.png': ")
