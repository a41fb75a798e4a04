"""JSON lines: one object a line. The main road, so it is kept at the speed of a bare loop over `json.loads`.

Knows nothing of what the fields mean.
"""

import json
from collections.abc import Container, Iterator

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources.json_text import Refused, fault, parse, scan
from luthier.data.sources.lines import (
    BOM,
    Block,
    line_blocks,
    not_utf8,
    open_text,
    repaired,
    too_large,
)
from luthier.data.sources.source import OnBytes, Shard, SourceFile


def read_jsonl(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """Every row, and every line that is none; blank lines are skipped."""
    place = file.place
    for block in _blocks(file, shard, on_bytes):
        if block.too_long:
            problem = f"{place}:{block.first_number}: the line has {too_large(block.too_long)}"
            yield UnreadableRow(place, block.first_number, "too_large", problem)
            continue
        if block.data.isspace():
            continue
        try:
            lines = block.data.decode().split(block.newline.decode())
        except UnicodeDecodeError:
            yield from _line_by_line(file, block)
            continue
        for number, line in enumerate(lines, block.first_number):
            if not line:
                continue
            try:
                value, end = scan(line, 0)
            except (StopIteration, ValueError, RecursionError):
                end = -1
            whole = end == len(line) or (end == len(line) - 1 and line[end] == "\r")
            flat = "\\" not in line and "[" not in line and line.find("{", 1) < 0
            if whole and type(value) is dict and (flat or fault(line, value) is None):
                yield Row(place, number, value)
            else:
                yield from _parse(place, number, line)


def read_jsonl_at(file: SourceFile, numbers: Container[int], last: int) -> Iterator[Row | UnreadableRow]:
    """The rows at some lines, up to line `last`; the other lines are not parsed."""
    for block in _blocks(file, None, None):
        if block.first_number > last:
            return
        if block.too_long and block.first_number in numbers:
            problem = f"{file.place}:{block.first_number}: the line has {too_large(block.too_long)}"
            yield UnreadableRow(file.place, block.first_number, "too_large", problem)
        wanted = range(block.first_number, block.first_number + block.data.count(block.newline) + 1)
        if block.too_long or not any(number in numbers for number in wanted):
            continue
        offset = block.offset
        for number, line in enumerate(block.data.split(block.newline), block.first_number):
            if number in numbers:
                yield from _decode(file, number, line, offset)
            offset += len(line) + 1
        if wanted[-1] >= last:
            return  # the next block may be damaged, and nothing of it is wanted


def _blocks(file: SourceFile, shard: Shard | None, on_bytes: OnBytes | None) -> Iterator[Block]:
    """The lines in blocks, without the mark of UTF-8 before the first one."""
    with open_text(file, shard, on_bytes) as stream:
        first, start = (shard.first_number, shard.start) if shard else (1, 0)
        for block in line_blocks(stream, first, start):
            if block.offset == 0 and block.data.startswith(BOM):
                block.data, block.offset = block.data[len(BOM) :], len(BOM)
            yield block


def _line_by_line(file: SourceFile, block: Block) -> Iterator[Row | UnreadableRow]:
    """A block in which some line is not UTF-8."""
    offset = block.offset
    for number, line in enumerate(block.data.split(block.newline), block.first_number):
        yield from _decode(file, number, line, offset)
        offset += len(line) + 1


def _decode(file: SourceFile, number: int, line: bytes, offset: int) -> Iterator[Row | UnreadableRow]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        if not file.repair_encoding:
            problem = f"{file.place}:{number}: {not_utf8(offset + error.start, error.reason)}"
            yield UnreadableRow(file.place, number, "not_utf8", problem)
            return
        text = repaired(line)
    yield from _parse(file.place, number, text)


def _parse(file: str, number: int, text: str) -> Iterator[Row | UnreadableRow]:
    """One line with everything that can be wrong with it; nothing for a blank one."""
    place = f"{file}:{number}"
    text = text.rstrip(" \t\r")
    if not text.strip():
        return
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        problem = f"{place}:{error.pos + 1}: broken JSON: {error.msg}; expected one JSON object a line"
        yield UnreadableRow(file, number, "broken_json", problem)
        return
    except Refused as error:
        yield UnreadableRow(file, number, "broken_json", f"{place}: this JSON cannot be read: {error}")
        return
    if not isinstance(value, dict):
        problem = f"{place}: expected a JSON object, got {type(value).__name__}"
        yield UnreadableRow(file, number, "not_an_object", problem)
    elif wrong := fault(text, value):
        yield UnreadableRow(file, number, "broken_json", f"{place}: this JSON cannot be read: {wrong}")
    else:
        yield Row(file, number, value)
