"""Rows come with their line; whatever cannot be read says where and why."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from luthier.data.sources import Row, UnreadableRow, read_every_line, read_rows
from luthier.errors import DataError

_TWO = b'{"text": "one"}\n\n{"text": "zwei \xc3\xa4"}\n'


def _plain(path: Path) -> Path:
    path.write_bytes(_TWO)
    return path


def _gz(path: Path) -> Path:
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress(_TWO))
    return path


def _zst(path: Path) -> Path:
    path = path.with_suffix(".jsonl.zst")
    path.write_bytes(zstandard.ZstdCompressor().compress(_TWO))
    return path


def _with_bom(path: Path) -> Path:
    path.write_bytes(b"\xef\xbb\xbf" + _TWO)
    return path


@pytest.mark.parametrize("write", [_plain, _gz, _zst, _with_bom])
def test_rows_keep_their_line_numbers(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    assert [(r.number, r.value["text"]) for r in read_rows(path)] == [(1, "one"), (3, "zwei ä")]


_LATIN1 = '{"text": "é"}'.encode("latin-1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b'{"text": "a"}\n{"text": "b"\n', r"rows\.jsonl:2:13: broken JSON"),
        (b'{"text": "a"}\n' + _LATIN1, r"rows\.jsonl:2: not UTF-8 at byte 24 of the file"),
        (b"\xef\xbb\xbf" + _LATIN1, r"rows\.jsonl:1: not UTF-8 at byte 13 of the file"),
        (b'{"text": "a"}\n"b"\n', r"rows\.jsonl:2: expected a JSON object, got str"),
        (b'[\n{"text": "a"}\n]', r"begins with '\[', as a JSON array does"),
        (b'{"score": NaN}', "NaN is not a JSON value"),
        (b'{"a": ' + b"[" * 100_000, r"rows\.jsonl:1"),
        (b'{"a": ' + b"1" * 5000 + b"}", r"rows\.jsonl:1: this JSON cannot be read"),
    ],
)
def test_what_cannot_be_read_says_where(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_rows(path))


def test_every_broken_line_is_yielded_with_the_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a" 1}\n\xff\n7\n{"a": 2}\n')
    lines = list(read_every_line(path))
    assert [line.number for line in lines if isinstance(line, Row)] == [1, 5]
    defects = [(line.number, line.defect) for line in lines if isinstance(line, UnreadableRow)]
    assert defects == [(2, "broken_json"), (3, "not_utf8"), (4, "not_an_object")]


def test_no_such_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file"):
        list(read_rows(tmp_path / "absent.jsonl"))
    with pytest.raises(DataError, match="got a folder"):
        list(read_rows(tmp_path))


def test_damaged_compressed_files(tmp_path: Path) -> None:
    data = json.dumps({"text": "a" * 9000}).encode() * 3
    for name, content in (("a.gz", gzip.compress(data)[:-20]), ("b.gz", b"plain"), ("c.zst", b"plain")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="damaged or cut short"):
            list(read_rows(tmp_path / name))
