"""Rows come with their line; whatever cannot be read says where and why."""

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import find_files, read_at, read_every_row, read_rows, shards, size_bytes
from luthier.data.sources.lines import line_blocks
from luthier.data.sources.source import BLOCK_BYTES, MAX_LINE_BYTES, SourceFile
from luthier.errors import DataError
from tests.data.sources.files import read_bytes, values

_TWO = b'{"text": "one"}\n\n{"text": "zwei \xc3\xa4"}\n'


def _plain(path: Path) -> Path:
    path.write_bytes(_TWO)
    return path


def _gz(path: Path) -> Path:
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(
        gzip.compress(_TWO[:16]) + gzip.compress(_TWO[16:])
    )  # two members, as `cat a.gz b.gz` makes
    return path


def _zst(path: Path) -> Path:
    path = path.with_suffix(".jsonl.zst")
    compress = zstandard.ZstdCompressor().compress
    path.write_bytes(compress(_TWO[:16]) + compress(_TWO[16:]))
    return path


def _with_bom(path: Path) -> Path:
    path.write_bytes(b"\xef\xbb\xbf" + _TWO)
    return path


def _crlf(path: Path) -> Path:
    path.write_bytes(_TWO.replace(b"\n", b"\r\n"))
    return path


def _old_mac(path: Path) -> Path:
    path.write_bytes(_TWO.replace(b"\n", b"\r"))
    return path


@pytest.mark.parametrize("write", [_plain, _gz, _zst, _with_bom, _crlf, _old_mac])
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
        (b'{"text": "a"} x\n{"text": "b"}\n', r"rows\.jsonl:1:15: broken JSON: Extra data"),
        (b'{"text": "a"}\n' + _LATIN1, r"rows\.jsonl:2: not UTF-8 at byte 24 of the file"),
        (b"\xef\xbb\xbf" + _LATIN1, r"rows\.jsonl:1: not UTF-8 at byte 13 of the file"),
        (b'{"text": "a"}\n"b"\n', r"rows\.jsonl:2: expected a JSON object, got str"),
        (b'{"score": NaN}', "NaN is not a JSON value"),
        (b'{"score": [1e999]}', "the number 1e999 is too large"),
        (b'{"a": ' + b"[" * 100_000, r"rows\.jsonl:1: .*nests deeper"),
        (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", r"rows\.jsonl:1: .*nests deeper than 100"),
        (b'{"a": ' + b"1" * 5000 + b"}", r"rows\.jsonl:1: this JSON cannot be read: .* digits"),
        (b'{"a": ["\\ud83d"]}', r"rows\.jsonl:1: .*\\ud83d is half of a character"),
    ],
)
def test_what_cannot_be_read_says_where(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_rows(path))


def test_what_only_looks_refusable_is_read(tmp_path: Path) -> None:
    whole = {"a": "\\ud83d", "b": "😀", "c": [[]] * 200, "d": "[" * 500}
    lines = [json.dumps(whole).encode(), b' {"a": 1}\t', b'{"a": "\x7f"}']
    assert values(read_bytes(tmp_path, "a.jsonl", b"\n".join(lines))) == [whole, {"a": 1}, {"a": "\x7f"}]


def test_every_broken_line_is_yielded_with_the_good_ones(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, "rows.jsonl", b'{"a": 1}\n{"a" 1}\n\xff\n7\n{"a": 2}\n')
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert values(rows) == [{"a": 1}, "broken_json", "not_utf8", "not_an_object", {"a": 2}]


def test_repair_reads_windows_1252_beside_utf8(tmp_path: Path) -> None:
    line = '{"text": "é'.encode("latin-1") + "ä €".encode() + b'\x80"}\n'
    assert values(read_bytes(tmp_path, "a.jsonl", line, repair_encoding=True)) == [{"text": "éä €€"}]
    assert values(read_bytes(tmp_path, "a.jsonl", line)) == ["not_utf8"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_utf16_is_said_and_repaired(name: str, encoding: str, tmp_path: Path) -> None:
    text = {"csv": "prompt,completion\nwhy,so ä\n", "txt": "why\nso ä\n"}.get(name[2:], '{"prompt": "why"}\n')
    (row,) = read_bytes(tmp_path, name, text.encode(encoding))
    assert isinstance(row, UnreadableRow) and row.defect == "not_utf8" and "UTF-" in row.problem
    (read,) = read_bytes(tmp_path, name, text.encode(encoding), repair_encoding=True)
    assert isinstance(read, Row) and read.value["prompt"] == "why"


def test_no_such_file_pipe_and_duplicate(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file"):
        list(read_rows(tmp_path / "absent.jsonl"))
    with pytest.raises(DataError, match="a pipe or a device"):
        list(read_rows("/dev/null"))


def test_damaged_compressed_files(tmp_path: Path) -> None:
    data = json.dumps({"text": "a" * 9000}).encode() * 3
    cut_zst = zstandard.ZstdCompressor().compress(data)[:-3]
    files = (
        ("a.gz", gzip.compress(data)[:-20]),
        ("b.gz", b"plain"),
        ("c.zst", b"plain"),
        ("d.jsonl.zst", cut_zst),
    )
    for name, content in files:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="damaged or cut short"):
            list(read_rows(tmp_path / name))


@pytest.mark.parametrize("unit", [b"\0", b'{"a": 1}\n'])
def test_a_bomb_is_refused_before_any_row(unit: bytes, tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    block = unit * ((1 << 20) // len(unit))
    data = b"".join([packer.compress(block) for _ in range(300)]) + packer.flush()
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.jsonl\.zst: .* times its size"):
        find_files(path)


def test_text_that_packs_well_is_no_bomb(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "why", "completion": " ".join(map(str, range(200)))}).encode() + b"\n"
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(line * 20_000))
    assert sum(1 for _ in read_rows(path)) == 20_000


def test_a_line_too_large_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(MAX_LINE_BYTES >> 20):
            file.write(b"a" * (1 << 20))
        file.write(b'"}\n{"a": 2}\n')
    (source,) = find_files(path)
    rows = list(read_every_row(source))
    assert values(rows) == [{"a": 1}, "too_large", {"a": 2}] and [row.number for row in rows] == [1, 2, 3]
    assert values(list(read_at(source, {2, 3}).values())) == ["too_large", {"a": 2}]


class _Trickle:
    """Bytes in pieces of given lengths."""

    def __init__(self, data: bytes, lengths: list[int]) -> None:
        self._data, self._lengths = data, lengths

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        length = self._lengths.pop() if self._lengths else size
        block, self._data = self._data[:length], self._data[length:]
        return block


@given(st.binary(max_size=60).map(lambda b: b.replace(b"\r", b"\n")), st.lists(st.integers(1, 9), max_size=9))
def test_blocks_hold_exactly_the_lines(data: bytes, lengths: list[int]) -> None:
    lines, number = [], 1
    for block in line_blocks(_Trickle(data, lengths)):
        assert block.first_number == number
        assert data[block.offset : block.offset + len(block.data)] == block.data
        lines += block.data.split(b"\n")
        number = len(lines) + 1
    expected = data.split(b"\n")
    assert lines == (expected[:-1] if expected[-1] == b"" else expected)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from([b"", b'{"a": 1}', b'{"a": "' + b"x" * 90 + b'"}', b"7", b'{"a"', b"\xff"]),
        min_size=1,
    ),
    st.integers(1, 300),
    st.booleans(),
)
def test_shards_give_the_same_rows_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], max_bytes: int, newline: bool
) -> None:
    path = tmp_path_factory.mktemp("shards") / "a.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * newline)
    file = SourceFile(str(path))
    pieces = shards(file, max_bytes)
    if pieces is None:
        assert path.stat().st_size <= max_bytes or not path.read_bytes().strip()
        return
    told: list[int] = []
    together = [row for piece in pieces for row in read_every_row(file, piece, on_bytes=told.append)]
    assert together == list(read_every_row(file))
    assert pieces[0].start == 0 and pieces[-1].end == size_bytes(file) == sum(told)
    assert all(a.end == b.start for a, b in pairwise(pieces))


def test_rows_are_fetched_by_number(tmp_path: Path) -> None:
    lines = [json.dumps({"n": n, "text": "ä" * 100}) for n in range(1, 5001)]
    lines[2999] = "broken"
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    (file,) = find_files(path)
    found = read_at(file, {1, 3000, 4999, 9999})
    assert sorted(found) == [1, 3000, 4999] and values([found[1], found[3000]])[1] == "broken_json"
    assert values([found[4999]])[0]["n"] == 4999
    assert read_at(file, set()) == {}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_progress_adds_up_to_the_size(packing: str, tmp_path: Path) -> None:
    data = b"".join(json.dumps({"n": n, "t": str(n) * 50}).encode() + b"\n" for n in range(20_000))
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[packing]
    path = tmp_path / f"a.jsonl{packing}"
    path.write_bytes(pack(data))
    (file,) = find_files(path)
    told: list[int] = []
    assert sum(1 for _ in read_every_row(file, on_bytes=told.append)) == 20_000
    assert sum(told) == size_bytes(file) == path.stat().st_size and len(told) > 1
