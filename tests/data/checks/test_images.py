"""Images are looked for beside the data file and opened; what is missing, cut or no image is found."""

import json
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.images import Images, problem_of, resolve, size_of
from luthier.data.checks.report import Report
from tests.data.checks.real import report_on
from tests.data.checks.toys import assert_merges
from tests.data.shared import SHARED, needs_shared


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int = 2, height: int = 3) -> bytes:
    pixels = zlib.compress(b"".join(b"\0" + b"\x7f\x00\x00" * width for _ in range(height)))
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _row(*images: str) -> dict[str, Any]:
    asked = "<image>" * len(images) + "What is it?"
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "A cat."}]
    return {"messages": turns, "images": list(images)}


def _check(folder: Path, *rows: dict[str, Any]) -> Report:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return check_places({"train": [folder / "rows.jsonl"]}, [Images], partial(Context))


def test_images_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(_png())
    rows = (
        _row("a b.png"),
        _row(str(tmp_path / "a b.png")),
        _row((tmp_path / "a b.png").as_uri()),
        _row("https://a.b/c.png"),
    )
    report = _check(tmp_path, *rows)
    assert report.findings == ()
    assert report.figures["images"] == {"train": {"read": 3, "missing": 0, "unreadable": 0, "not_opened": 1}}


def test_what_is_missing_or_unreadable_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(_png())
    (tmp_path / "cut.png").write_bytes(_png()[:-12])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    rows = [
        _row("good.png"),
        _row("none.png", "none.png"),
        _row("cut.png"),
        _row("text.jpg"),
        _row("folder.png"),
    ]
    found = {one.name: one.rows for one in _check(tmp_path, *rows).findings}
    assert found == {"missing_images": (2,), "unreadable_images": (3, 4, 5)}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"<html>", "neither"),
        (_png(width=0), "without a size"),
        (_png()[:18], "neither"),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0", "neither"),
        (
            b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08" + struct.pack(">HH", 3, 4) + b"\0\0",
            "JPEG is cut short",
        ),
    ],
)
def test_what_is_no_whole_image_is_said(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "it.png").write_bytes(data)
    assert said in str(problem_of(tmp_path / "it.png"))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (_png(5, 7), (5, 7)),
        (b"GIF89a" + struct.pack("<HH", 8, 9) + b"\0\0\0;", (8, 9)),
        (b"BM" + bytes(16) + struct.pack("<ii", 4, -6), (4, 6)),
        (b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x09\0\0\x0b\0\0", (10, 12)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08" + struct.pack(">HH", 3, 4) + b"\0\0\xff\xd9", (4, 3)),
        (b"\xff\xd8\xff", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"hello", None),
    ],
)
def test_sizes(data: bytes, size: tuple[int, int] | None) -> None:
    assert size_of(data) == size


def test_a_bad_path_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    assert problem_of(resolve("a\0b.png", str(tmp_path))) is not None
    assert problem_of(resolve("x" * 5000, str(tmp_path))) is not None
    (tmp_path / "empty.png").write_bytes(b"")
    assert problem_of(tmp_path / "empty.png") == "the file is empty"


def test_merges() -> None:
    assert_merges(Images, [_row("none.png"), _row("other.png", "https://a.b/c.png"), _row("none.png")] * 3)


@needs_shared
def test_real_files() -> None:
    report = report_on("multimodal/mllm_demo.json", Images)
    assert report.findings == () and report.figures["images"]["train"]["read"] > 0
    assert size_of((SHARED / "multimodal/mllm_demo_data/1.jpg").read_bytes()) is not None
