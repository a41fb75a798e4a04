"""A file of JSON values that are not one a line: an array, a list under one key, values one after another.

Values are taken one at a time, so an array of any length needs the memory of its longest element. What follows
broken JSON cannot be trusted to begin anywhere, so it is not read, and said so.
Knows nothing of what the fields mean.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from luthier.data.rows import Defect, Row, UnreadableRow, place_of
from luthier.data.sources.json_text import fault, reason, scan, scan_refused
from luthier.data.sources.lines import REPAIR, Source, not_utf8, open_text
from luthier.data.sources.source import BLOCK_BYTES, HEAD_BYTES, MAX_LINE_BYTES, OnBytes, Shard, SourceFile

_SPACE = re.compile(r"[ \t\r\n]*")
_LIST_UNDER_KEY = re.compile(r'\{[ \t\r\n]*("(?:[^"\\]|\\.){0,200}")[ \t\r\n]*:[ \t\r\n]*\[')
_LISTS_OF_ONE_ROW = frozenset({"messages", "conversations"})  # such an object is itself a row
_UNSURE = 16  # an error so near the end of what was read may come from the cut


class _Stop(Exception):
    """Nothing more can be read; carries what is said of the last element."""

    def __init__(self, row: UnreadableRow) -> None:
        super().__init__(row.problem)
        self.row = row


def read_json_values(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """Every element with its number, and what is none. Raises OtherEncoding and DataError."""
    with open_text(file, on_bytes=on_bytes) as stream:
        window = _Window(file, stream)
        try:
            yield from _values(window)
        except _Stop as stop:
            yield stop.row


def list_key(text: str) -> str | None:
    """The key whose list holds the rows, where the text begins as an object of that one key; else None."""
    match = _LIST_UNDER_KEY.match(text, _skip(text, 0))
    try:
        key = None if match is None else str(json.loads(match[1]))
    except ValueError:
        return None
    if key is None or key in _LISTS_OF_ONE_ROW:
        return None
    try:
        value, end = scan_refused(text, _skip(text, 0))
    except (StopIteration, ValueError, RecursionError):
        return key  # longer than what was read, as a list of rows is
    alone = len(value) == 1 and not text[end:].strip(" \t\r\n")
    return key if alone and value[key] and all(isinstance(one, dict) for one in value[key]) else None


def _values(window: "_Window") -> Iterator[Row | UnreadableRow]:
    window.fill(HEAD_BYTES)
    key = list_key(window.text)
    if key is not None:
        match = _LIST_UNDER_KEY.match(window.text, _skip(window.text, 0))
        assert match is not None
        window.at = match.end()
        yield from _elements(window)
        if window.next() != "}":
            raise window.broken(
                f"expected }} after the list {key!r}; rows are read from an object of one key only"
            )
        window.at += 1
    while char := window.next():
        if char == "[":
            window.at += 1
            yield from _elements(window)
        else:
            yield window.take()


def _elements(window: "_Window") -> Iterator[Row | UnreadableRow]:
    """The elements of an array whose `[` was taken."""
    if window.next() == "]":
        window.at += 1
        return
    while True:
        if not window.next():
            raise window.broken("the file ends inside the array")
        yield window.take()
        char = window.next()
        window.at += 1
        if char == "]":
            return
        if char != ",":
            window.at -= 1
            raise window.broken(
                "expected ',' or ']' after the element" if char else "the file ends inside the array"
            )


class _Window:
    """The part of the text that is held: from what was not yet taken to what was read."""

    def __init__(self, file: SourceFile, stream: Source) -> None:
        errors = REPAIR if file.repair_encoding else "surrogateescape"
        self._decode = codecs.getincrementaldecoder("utf-8")(errors=errors).decode
        self._place = file.place
        self._read = stream.read
        self._ended = False
        self._line, self._column, self._offset = 1, 1, 0  # of the first character held
        self._number = 0
        self.text = ""
        self.at = 0

    def fill(self, size: int) -> None:
        """Read until `size` characters are held, or the file ends."""
        while len(self.text) < size and self.more():
            pass
        if self.text.startswith("\ufeff"):
            self.text, self._offset = self.text[1:], 3

    def more(self) -> bool:
        """Let go of what was taken, and read as much again as is left. False at the end of the file."""
        if self._ended:
            return False
        self._line, self._column, self._offset = self._place_at(self.at)
        parts, size = [self.text[self.at :]], 0
        while size < max(BLOCK_BYTES, len(parts[0])) and not self._ended:
            block = self._read(BLOCK_BYTES)
            self._ended = not block
            parts.append(self._decode(block, self._ended))
            size += len(parts[-1])
        self.text, self.at = "".join(parts), 0
        return size > 0

    def next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self.at = _skip(self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self) -> Row | UnreadableRow:
        """The element that begins here. Raises _Stop where its end cannot be found."""
        self._number += 1
        value, end, refusal = self._scan()
        source, start = self.text[self.at : end], self.at
        self.at = end
        place = place_of(self._place, self._number, "row")
        if not source.isascii():
            try:
                source.encode()
            except UnicodeEncodeError as error:
                byte = self._place_at(start + error.start)[2]
                return self._unreadable("not_utf8", f"{place}: {not_utf8(byte, 'invalid byte')}")
        if refusal := refusal or fault(source, value):
            return self._unreadable("broken_json", f"{place}: this JSON cannot be read: {refusal}")
        if not isinstance(value, dict):
            problem = f"{place}: expected a JSON object, got {type(value).__name__}"
            return self._unreadable("not_an_object", problem)
        return Row(self._place, self._number, value, "row")

    def _scan(self) -> tuple[Any, int, str | None]:
        """(value, where it ends, why it is refused); reads on while the value is cut."""
        refusal, scan_it = None, scan
        while True:
            try:
                value, end = scan_it(self.text, self.at)
            except StopIteration as error:
                at, message = error.value, "Expecting value"
            except json.JSONDecodeError as error:
                at, message = error.pos, error.msg
            except RecursionError as error:
                raise self.broken(reason(error)) from None
            except ValueError as error:
                refusal, scan_it = reason(error), scan_refused
                continue
            else:
                whole = end < len(self.text) or isinstance(value, dict | list | str)
                if whole or not self.more():  # a number may go on
                    return value, end, refusal
                continue
            if at < len(self.text) - _UNSURE and not message.startswith("Unterminated"):
                raise self.broken(message, at)
            if len(self.text) - self.at > MAX_LINE_BYTES:
                raise self.broken(
                    f"the element has more than {MAX_LINE_BYTES:,} characters", defect="too_large"
                )
            if not self.more():
                raise self.broken(message, at)

    def broken(self, message: str, at: int | None = None, defect: Defect = "broken_json") -> _Stop:
        """The end of reading, at a position of the text."""
        line, column, _ = self._place_at(self.at if at is None else at)
        number = max(self._number, 1)
        what = "too large" if defect == "too_large" else "broken JSON"
        return _Stop(
            self._unreadable(
                defect,
                f"{self._place}:{line}:{column}: {what} in row {number}: {message}; what follows it was not read",
            )
        )

    def _unreadable(self, defect: Defect, problem: str) -> UnreadableRow:
        return UnreadableRow(self._place, max(self._number, 1), defect, problem, "row")

    def _place_at(self, at: int) -> tuple[int, int, int]:
        """(line, column, byte of the file) of a position in the text."""
        before = self.text[:at]
        newlines = before.count("\n")
        column = at - before.rindex("\n") if newlines else self._column + at
        return self._line + newlines, column, self._offset + len(before.encode("utf-8", "surrogateescape"))


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
