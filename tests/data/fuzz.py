"""Damaged files of every kind, drawn from a seed: what users' disks, editors and exports do, and what attackers do.

    python -m tests.data.fuzz 10000

writes them one at a time, checks each in this process, and prints what came of them.
"""

import gzip
import io
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from luthier.data.checks import check_files
from luthier.data.rows import UnreadableRow
from luthier.data.sources import find_files, read_every_row
from luthier.errors import DataError

MAX_SECONDS = 10.0
_WORDS = (
    "how", "wide", "is", "the", "field", "it", "has", "goalposts", "naïve", "café", "球場", "😀", "{{name}}", "[x]",
    "a,b", '"quoted"', "it's", "tab\there",
)  # fmt: skip


@dataclass
class Outcome:
    """What came of the files."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    failures: list[str] = field(default_factory=list)


def fuzz(
    num_files: int,
    seed: int,
    folder: Path,
    *,
    large: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Write and check that many files, one after another. With `large`, among them lines of 50 MB and bombs.

    `tell` hears of every failure and of every thousandth file as they come.
    """
    outcome = Outcome()
    for index in range(num_files):
        rng = random.Random(f"{seed} {index}")
        path, story = _write(rng, folder, index, large)
        began = time.process_time()  # not the clock's: other work on the machine is no hang of ours
        failures: list[str] = []
        try:
            word = _check(path, repair=rng.random() < 0.1, beside=rng.random() < 0.1)
        except Exception as error:  # that is what is looked for
            word = "crashed"
            failures.append(f"{path.name} ({story}): {type(error).__name__}: {str(error)[:200]}")
        seconds = time.process_time() - began
        if seconds > MAX_SECONDS:
            failures.append(f"{path.name} ({story}): took {seconds:.1f} s")
        for failure in failures:
            tell(f"FAILED {failure}")
        outcome.failures += failures
        outcome.counts[word] += 1
        if index % 1000 == 999:
            tell(f"{index + 1:,} files, slowest {outcome.slowest[0]:.1f} s ({outcome.slowest[1]})")
        outcome.slowest = max(outcome.slowest, (seconds, f"{path.name} ({story})"))
        path.unlink()
    return outcome


def _check(path: Path, *, repair: bool, beside: bool) -> str:
    """`whole`, `rows refused` or `file refused`; raises AssertionError where a refusal does not say what it must."""
    try:
        defects: set[str] = set()
        report = check_files([path], valid=[path] if beside else None, repair_encoding=repair)
        for file in find_files(path, repair_encoding=repair):
            for row in read_every_row(file):
                if isinstance(row, UnreadableRow):
                    defects.add(row.defect)
                    reason = row.problem.removeprefix(str(path))
                    assert reason != row.problem and str(row.number) in reason and len(reason) > 15, (
                        row.problem
                    )
    except DataError as error:
        assert path.name in str(error) and len(str(error)) > len(str(path)) + 10, str(error)
        return "file refused"
    json.dumps(report.to_dict(), allow_nan=False).encode()
    if any(finding.name == "unreadable_file" for finding in report.findings):
        return "file refused"
    return "rows refused" if defects else "whole"


def _write(rng: random.Random, folder: Path, index: int, large: bool) -> tuple[Path, str]:
    """A file, and the story of what was done to it."""
    if large and index % 500 == 250:
        return _long_line(rng, folder, index)
    if large and index % 125 == 60:
        return _bomb(rng, folder, index)
    name, data = rng.choice(_KINDS)(rng)
    story = [name]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        mutate = rng.choice(_MUTATIONS)
        story.append(mutate.__name__.strip("_"))
        data = mutate(rng, data)
    packing = rng.choice((None, None, None, None, "gz", "zst"))
    if packing is not None:
        data = gzip.compress(data, 1) if packing == "gz" else zstandard.ZstdCompressor().compress(data)
        name += f".{packing}"
        if rng.random() < 0.4:
            mutate = rng.choice((_flip_bits, _cut, _insert_bytes, _double))
            story.append("packed, then " + mutate.__name__.strip("_"))
            data = mutate(rng, data)
    if rng.random() < 0.08:
        name = rng.choice(
            ("csv", "json", "jsonl", "txt", "parquet", "arrow", "tsv", "jsonl.gz", "json.zst", "conll")
        )
        story.append("named otherwise")
    path = folder / f"f{index}.{name}"
    path.write_bytes(data)
    return path, ", ".join(story)


def _long_line(rng: random.Random, folder: Path, index: int) -> tuple[Path, str]:
    """Lines of 50 MB; now and then one beyond what is read."""
    size = rng.choice((50, 50, 50, 80)) << 20
    name, line = rng.choice(
        [
            ("jsonl", b'{"text": "' + b"a" * size + b'"}'),
            ("jsonl", b'{"text": "' + b"a " * (size // 2)),
            ("jsonl", b"[" * size),
            ("json", b'[{"text": "' + b"\\u00e4" * (size // 6) + b'"}]'),
            ("json", b'[{"text": "' + b"a" * size),
            ("csv", b"text,label\n" + b"b" * size + b",x"),
            ("csv", b'text,label\n"' + b"b\n" * (size // 2)),
            ("txt", b"question\n" + b"c" * size),
            ("jsonl", b'{"n": ' + b"7" * size + b"}"),
            ("jsonl", b"\x00" * size),
        ]
    )
    path = folder / f"f{index}.{name}"
    path.write_bytes(b'{"text": "a"}\n' * (name == "jsonl") + line + b"\n")
    return path, f"a line of {size >> 20} MiB"


@cache
def _bombs() -> list[tuple[str, bytes]]:
    """Small files that unpack to 300 MiB and more."""
    size = 320 << 20
    row = b'{"prompt": "a", "completion": "b"}\n'
    packed = [
        ("zst", zstandard.ZstdCompressor().compress(unit * (size // len(unit))))
        for unit in (b"\0", b"{}\n", row)
    ]
    packed += [("gz", gzip.compress(unit * (size // len(unit)), 9)) for unit in (b"\n", b"[")]
    return packed


def _bomb(rng: random.Random, folder: Path, index: int) -> tuple[Path, str]:
    ending, data = rng.choice(_bombs())
    kind = rng.choice(("jsonl", "json", "csv", "txt", "parquet"))
    path = folder / f"f{index}.{kind}.{ending}"
    path.write_bytes(data)
    return path, "bomb"


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(0, 30)))


def _rows(rng: random.Random) -> list[dict[str, Any]]:
    makers: list[Callable[[], dict[str, Any]]] = [
        lambda: {"prompt": _text(rng), "completion": _text(rng)},
        lambda: {"text": _text(rng), "label": rng.choice(("good", "bad"))},
        lambda: {
            "messages": [{"role": r, "content": _text(rng)} for r in ("user", "assistant")],
            "id": rng.random(),
        },
        lambda: {
            "conversations": [{"from": r, "value": _text(rng)} for r in ("human", "gpt")],
            "tools": "[]",
        },
        lambda: {"instruction": _text(rng), "input": "", "output": _text(rng)},
        lambda: {"prompt": _text(rng), "chosen": _text(rng), "rejected": _text(rng)},
        lambda: {"context": _text(rng), "question": _text(rng), "answer": None},
    ]
    make = rng.choice(makers)
    return [make() for _ in range(rng.randint(1, 40))]


def _jsonl(rng: random.Random) -> tuple[str, bytes]:
    ascii_only = rng.random() < 0.5
    return "jsonl", "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in _rows(rng)).encode()


def _json(rng: random.Random) -> tuple[str, bytes]:
    rows: Any = _rows(rng)
    if rng.random() < 0.2:
        return "json", "\n".join(json.dumps(row, indent=2) for row in rows).encode()
    value = {"data": rows} if rng.random() < 0.3 else rows
    return "json", json.dumps(value, indent=rng.choice((None, 2)), ensure_ascii=rng.random() < 0.5).encode()


def _table(rng: random.Random) -> tuple[str, bytes]:
    delimiter = rng.choice(",;\t|")
    ending = "tsv" if delimiter == "\t" else "csv"
    lines = [["text", "label"]] * (rng.random() < 0.7) + [
        [_text(rng), rng.choice("ab")] for _ in range(rng.randint(1, 40))
    ]
    quoted = [
        delimiter.join(
            '"' + cell.replace('"', '""') + '"' if '"' in cell or delimiter in cell else cell for cell in line
        )
        for line in lines
    ]
    return ending, rng.choice(("\n", "\r\n")).join(quoted).encode()


def _arrow_table(rng: random.Random) -> Any:
    return pa.Table.from_pylist(_rows(rng))


def _parquet(rng: random.Random) -> tuple[str, bytes]:
    sink = io.BytesIO()
    pq.write_table(_arrow_table(rng), sink, compression=rng.choice(("snappy", "zstd", "gzip", "none")))
    return "parquet", sink.getvalue()


def _arrow(rng: random.Random) -> tuple[str, bytes]:
    sink, table = io.BytesIO(), _arrow_table(rng)
    opened = rng.choice((pa.ipc.new_file, pa.ipc.new_stream))(sink, table.schema)
    with opened as writer:
        writer.write_table(table, max_chunksize=16)
    return "arrow", sink.getvalue()


def _pairs(rng: random.Random) -> tuple[str, bytes]:
    return "txt", "\n".join(_text(rng) for _ in range(rng.randint(0, 40))).encode()


def _conll(rng: random.Random) -> tuple[str, bytes]:
    lines = (rng.choice(("Oslo\tB-place", "the\tO", "", "a b\tO", "x")) for _ in range(rng.randint(1, 60)))
    return "conll", "\n".join(lines).encode()


_KINDS = (_jsonl, _jsonl, _jsonl, _json, _json, _table, _table, _parquet, _arrow, _pairs, _conll)


def _flip_bits(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 30)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _cut_out(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 200) :]


def _double(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[max(0, at - rng.randint(1, 4000)) :]


def _into(rng: random.Random, data: bytes, what: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + what + data[at:]


def _insert_bytes(rng: random.Random, data: bytes) -> bytes:
    return _into(rng, data, rng.randbytes(rng.choice((1, 8, 300))))


def _insert_nuls(rng: random.Random, data: bytes) -> bytes:
    return _into(rng, data, b"\0" * rng.choice((1, 4, 5000)))


def _insert_number(rng: random.Random, data: bytes) -> bytes:
    numbers = (
        b"1" * 5000,
        b"1e999",
        b"-1e400",
        b"NaN",
        b"Infinity",
        b"9" * 4000,
        b"0x1f",
        b"1e-9999",
        b"-0",
        b"007",
    )
    return _into_a_value(rng, data, rng.choice(numbers))


def _insert_depth(rng: random.Random, data: bytes) -> bytes:
    depth = rng.choice((50, 99, 101, 400, 990, 3000, 100_000))
    begin, end = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    closed = rng.random() < 0.6
    return _into_a_value(rng, data, begin * depth + b"1" + (end * depth if closed else b""))


def _insert_surrogate(rng: random.Random, data: bytes) -> bytes:
    halves = (b'"\\ud800"', b'"\\uDfff x"', b'"\\ud83d\\ude00 \\ud83d"', b'"\xed\xa0\x80"', b'{"\\udc00": 1}')
    return _into_a_value(rng, data, rng.choice(halves))


def _into_a_value(rng: random.Random, data: bytes, what: bytes) -> bytes:
    """In the place of a JSON value where there is one, else anywhere."""
    places = [at for at in range(len(data) - 2) if data[at : at + 2] == b": "][:2000]
    if not places:
        return _into(rng, data, what)
    at = rng.choice(places) + 2
    end = data.find(b",", at) if data[at : at + 1] != b'"' else data.find(b'"', at + 1) + 1
    return data[:at] + what + data[max(end, at) :]


def _stray_quotes(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randint(1, 3)):
        data = _into(rng, data, rng.choice((b'"', b'""', b',"', b'\t"', b'\n"', b"'", b"\\")))
    return data


def _latin1(rng: random.Random, data: bytes) -> bytes:
    return data.decode(errors="replace").encode("latin-1", errors="replace") + rng.choice((b"", b"\xe9\n"))


def _mixed_encodings(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join(_latin1(rng, line) if rng.random() < 0.3 else line for line in lines)


def _utf16(rng: random.Random, data: bytes) -> bytes:
    return data.decode(errors="replace").encode(rng.choice(("utf-16", "utf-16-be", "utf-32", "utf-8-sig")))


def _newlines(rng: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n\n", b"\n \t\n", b"\xe2\x80\xa8")))


def _long(rng: random.Random, data: bytes) -> bytes:
    return _into(
        rng, data, rng.choice((b"a", b" ", b"\t", b'"', b",", b"\\", b"\n")) * rng.choice((5_000, 300_000))
    )


def _shuffle(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def _lie_about_length(rng: random.Random, data: bytes) -> bytes:
    """A number of four or eight bytes that binary kinds take for a length."""
    changed = bytearray(data)
    value = rng.choice((0x7FFFFFFF, 0xFFFFFFFF, 1 << 30, 0))
    width = rng.choice(("<I", "<Q"))
    if len(changed) > 16:
        struct.pack_into(width, changed, rng.randrange(len(changed) - 8), value)
    return bytes(changed)


_MUTATIONS = (
    _flip_bits, _cut, _cut_out, _double, _insert_bytes, _insert_nuls, _insert_number, _insert_depth, _insert_surrogate,
    _stray_quotes, _latin1, _mixed_encodings, _utf16, _newlines, _long, _shuffle, _lie_about_length,
)  # fmt: skip


def told(outcome: Outcome) -> Iterator[str]:
    """The figures, a line each."""
    yield f"{sum(outcome.counts.values()):,} files"
    for word in ("whole", "rows refused", "file refused", "crashed"):
        yield f"  {word}: {outcome.counts[word]:,}"
    yield f"  slowest: {outcome.slowest[0]:.1f} s of one core, {outcome.slowest[1]}"
    yield from (f"  FAILED {failure}" for failure in outcome.failures)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asked_seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        result = fuzz(int(sys.argv[1]), asked_seed, Path(scratch), tell=partial(print, flush=True))
    print("\n".join(told(result)))
