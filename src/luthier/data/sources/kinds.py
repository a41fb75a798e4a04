"""What kind of file this is: by its content where that is clear, else by its ending.

A wrong ending is no error where the content says what it is.
Knows nothing of reading whole files.
"""

import json
import re
from dataclasses import dataclass, replace

from luthier.data.sources.json_values import list_key
from luthier.data.sources.source import SourceFile
from luthier.data.sources.streams import read_head, refuse_bomb
from luthier.data.sources.table_shape import common_width, has_header, sample
from luthier.data.sources.tables import describe_table, head_text
from luthier.errors import DataError

ENDINGS = {
    "jsonl": "jsonl", "ndjson": "jsonl", "jsonlines": "jsonl", "json": "json", "csv": "csv", "tsv": "tsv",
    "tab": "tsv", "parquet": "parquet", "pq": "parquet", "arrow": "arrow", "feather": "arrow", "ipc": "arrow",
    "txt": "pairs", "pairs": "pairs", "conll": "conll", "iob": "conll", "bio": "conll",
}  # fmt: skip
PACKED = {"gz": "gz", "gzip": "gz", "zst": "zst", "zstd": "zst"}
KINDS = tuple(sorted(set(ENDINGS.values())))
_MAGIC_PACKED = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_MAGIC = {b"PAR1": "parquet", b"ARROW1\x00\x00": "arrow", b"\xff\xff\xff\xff": "arrow"}
_OTHER = {
    b"PK\x03\x04": "a zip archive or an Excel sheet; unpack it, or save the sheet as CSV",
    b"BZh": "packed by bzip2; unpack it, or pack it with gzip or zstd",
    b"\xfd7zXZ\x00": "packed by xz; unpack it, or pack it with gzip or zstd",
    b"SQLite format 3\x00": "an SQLite database; export its table as CSV",
    b"%PDF": "a PDF; extract its text first",
    b"FEA1": "the first version of Feather; write it again as Parquet",
}
_SAMPLE_LINES = 50
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a]")
_TAG = re.compile(r"\S{1,40}")


@dataclass(frozen=True)
class _Ending:
    """What a name says: the kind and the packing, None where it says nothing, and the ending itself."""

    kind: str | None
    packed: str | None
    text: str


def ending_of(place: str) -> str | None:
    """The kind that the ending of a name stands for; None for an unknown one."""
    return _ending(place).kind


def has_ending(place: str) -> bool:
    """Whether a name has any ending, known or not."""
    return _ending(place).text != ""


def recognise_file_kind(
    place: str, *, kind: str | None, repair_encoding: bool, named: bool = True
) -> SourceFile:
    """The file with its kind, its packing, and from what they were told.

    With `named=False` (a file that lies in a folder) an ending `.txt` alone does not make it a file of pairs.
    Raises DataError: cannot be opened, of an unknown kind, a bomb.
    """
    ending = _ending(place)
    raw = SourceFile(place, repair_encoding=repair_encoding)
    head = read_head(raw)
    packed = next((name for magic, name in _MAGIC_PACKED.items() if head.startswith(magic)), None)
    how_packed = ""
    if packed is not None:
        raw = replace(raw, compression=packed)
        refuse_bomb(raw)
        head = read_head(raw)
    elif ending.packed is not None:
        how_packed = f", not packed in spite of its ending .{ending.packed}"
    text = "" if _is_binary(head) else head_text(head, repair_encoding)
    if kind is not None:
        how = "as you said"
    else:
        kind, how = (
            _kind(place, head, text, ending, named) if not how_packed else _kind_unpacked(place, head, text)
        )
    file = replace(raw, kind=kind, how=how + how_packed)
    return describe_table(file, head) if kind in ("csv", "tsv") else file


def _ending(place: str) -> _Ending:
    name = re.split(r"[/\\]", place)[-1].lower()
    if "://" in place:
        name = name.partition("?")[0].partition("#")[0]
    stem, _, last = name.rpartition(".")
    packed = PACKED.get(last) if stem else None
    if packed is not None:
        stem, _, last = stem.rpartition(".")
    return _Ending(ENDINGS.get(last) if stem else None, packed, last if stem else "")


def _kind(place: str, head: bytes, text: str, ending: _Ending, named: bool) -> tuple[str, str]:
    """(kind, from what it was told). Raises DataError."""
    by_ending = f"by its ending .{ending.text}"
    if not head.strip():
        return ending.kind or "jsonl", by_ending if ending.kind else "empty"
    for magic, advice in _OTHER.items():
        if head.startswith(magic):
            raise DataError(f"{place}: this file is {advice}")
    if found := next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None):
        return found, by_ending if found == ending.kind else f"by its content: {found.capitalize()}"
    if found_json := _json_kind(text, ending.kind):
        kind, what = found_json
        same = kind == ending.kind and what in ("JSON lines", "a JSON array")
        return kind, by_ending if same else f"by its content: {what}"
    if ending.kind == "pairs" and ending.text == "txt":
        found_table = _table_kind(text)
        if found_table is None and not named:
            raise _unknown(place)
        if found_table is not None:
            return found_table
    elif ending.kind is None:
        found_table = None if ending.text in _NEVER else _table_kind(text)
        if found_table is None:
            raise _unknown(place)
        return found_table
    return ending.kind, by_ending


_NEVER = frozenset({"md", "rst", "py", "yaml", "yml", "toml", "html", "xml", "log"})  # text, but not of rows


def _kind_unpacked(place: str, head: bytes, text: str) -> tuple[str, str]:
    """The kind of a file that is not packed though its ending says so: by its content alone, or it is damaged."""
    try:
        return _kind(place, head, text, _Ending(None, None, ""), False)
    except DataError as error:
        raise DataError(
            f"{place}: the compressed file is damaged or cut short: it does not begin as one"
        ) from error


def _json_kind(text: str, by_ending: str | None) -> tuple[str, str] | None:
    """(json or jsonl, in words) of text that is clearly JSON; None for other text."""
    begin = text.lstrip("\ufeff \t\r\n")
    if begin[:1] not in ("{", "["):
        return None
    lines = [line for line in begin.replace("\r", "\n").split("\n")[:_SAMPLE_LINES] if line.strip()]
    values = [(line[0] in "{[", _loads(line)) for line in lines]
    whole = [value for at_margin, value in values if at_margin and isinstance(value, dict)]
    if begin[0] == "[":
        if whole and lines[0].strip() != "[" and not any(line.rstrip().endswith(",") for line in lines):
            return "jsonl", "JSON lines"
        return _array_kind(lines, by_ending)
    if key := (list_key(begin) if by_ending != "jsonl" or lines[0].strip() == "{" else None):
        return "json", f"an object whose field {key!r} holds the list"
    if whole:
        return "jsonl", "JSON lines"
    if lines[0].strip() == "{" or (by_ending == "json" and not _looks_like_lines(lines)):
        return "json", "JSON values one after another"
    if by_ending in (None, "json", "jsonl"):
        return "jsonl", "JSON lines"
    return None


def _array_kind(lines: list[str], by_ending: str | None) -> tuple[str, str] | None:
    """Text that begins with `[` and is not JSON lines with a wrong first one."""
    if isinstance(_loads(lines[0]), list) and len(lines) > 1:
        return ("jsonl", "JSON lines") if by_ending in (None, "json", "jsonl") else None
    second = lines[0].strip()[1:].lstrip() or (lines[1].strip() if len(lines) > 1 else "")
    if by_ending in ("json", "jsonl") or second[:1] in ("{", "]", "["):
        return "json", "a JSON array"
    return None


def _looks_like_lines(lines: list[str]) -> bool:
    """Whether most lines begin and end as an object on one line does."""
    shaped = sum(line.startswith("{") and line.rstrip().endswith("}") for line in lines)
    return shaped >= max(1, len(lines) // 2)


def _loads(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _table_kind(text: str) -> tuple[str, str] | None:
    """The kind of text that is clearly a table."""
    if _CONTROL.search(text):
        return None
    tabs = sample(text, "\t", False)
    width, share = common_width(tabs)
    if width > 1 and share >= 0.95:
        if _is_conll(text, tabs):
            return "conll", "by its content: a token and its tag a line"
        return "tsv", "by its content"
    for delimiter in (",", ";", "|"):
        records = sample(text, delimiter, True)
        width, share = common_width(records)
        if width > 1 and share >= 0.95 and len(records) > 2 and has_header(records):
            return "csv", "by its content"
    return None


def _is_conll(text: str, records: list[list[str]]) -> bool:
    """Single words beside single words, with blank lines between groups of them."""
    words = sum(all(_TAG.fullmatch(cell.strip()) for cell in record) for record in records)
    tags = {record[-1] for record in records}
    blank = re.search(r"\S[ \t\r]*\n[ \t\r]*\n[ \t\r]*\S", text) is not None
    return blank and words >= 0.95 * len(records) and len(tags) <= max(4, len(records) // 4)


def _is_binary(head: bytes) -> bool:
    return any(head.startswith(magic) for magic in _MAGIC)


def _unknown(place: str) -> DataError:
    return DataError(
        f"{place}: cannot tell what kind of file this is, neither by its ending nor by its content; files are read "
        f"with the endings {', '.join('.' + name for name in ENDINGS)}, each also .gz and .zst. Or name the kind"
    )
