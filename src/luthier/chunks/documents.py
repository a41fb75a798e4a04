"""A text document as numbered lines: plain text, Markdown and HTML, with headings told from what stands below them.

Knows nothing of pieces. Binary documents are refused: what turns them into text well is not ours.
"""

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from luthier.errors import DataError

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*\Z")
_FENCE = re.compile(r"\s*(?:```|~~~)")


class Line(NamedTuple):
    """`number`: in the file, from 1. `level`: of a heading, 1 to 6; 0 is what stands below one. A line without words
    ends a paragraph."""

    number: int
    text: str
    level: int = 0


def read_document(path: Path) -> str:
    """The file as text. Raises DataError where its ending, its size or its bytes are not those of a text document."""
    if path.suffix.lower() not in ENDINGS:
        raise DataError(
            f"{path}: expected one of {', '.join(ENDINGS)}; convert other documents to text first (pdftotext for PDF, "
            "pandoc for most others)"
        )
    try:
        if (size := path.stat().st_size) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{path}: {size:,} bytes, expected at most {MAX_DOCUMENT_BYTES:,}; split it")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, found something else at byte {error.start}; convert it with iconv -t utf-8"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def lines_of(text: str, ending: str) -> Iterator[Line]:
    """The lines of a document of this kind (`.md`, `.html`, ...); of any other kind without headings."""
    return ENDINGS.get(ending.lower(), _plain)(text)


def _plain(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), start=1):
        yield Line(number, line)


def _markdown(text: str) -> Iterator[Line]:
    """Headings that begin with #, outside of code."""
    fenced = False
    for line in _plain(text):
        fenced ^= _FENCE.match(line.text) is not None
        match = None if fenced else _HEADING.match(line.text)
        yield Line(line.number, match[2], len(match[1])) if match else line


def _html(text: str) -> Iterator[Line]:
    parser = _Page()
    parser.feed(text)
    parser.close()
    yield from parser.found


class _Page(HTMLParser):
    """The words that a reader of a page sees. What stands in one block stands in one paragraph."""

    _HIDDEN = frozenset(["script", "style", "template", "noscript", "svg", "head"])
    _INLINE = re.compile(
        "a|abbr|b|bdi|bdo|cite|code|data|dfn|em|i|kbd|mark|q|s|samp|small|span|strong|sub|sup|time|u|var|wbr"
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Line] = []
        self._hidden = 0
        self._level = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self._HIDDEN
        if not self._INLINE.fullmatch(tag):
            self._end_block()
        if re.fullmatch(r"h[1-6]", tag):
            self._level = int(tag[1])

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        if not self._INLINE.fullmatch(tag):
            self._end_block()
            self._level = 0

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        for number, part in enumerate(data.split("\n"), start=self.getpos()[0]):
            last = self.found[-1] if self.found else None
            if last is not None and last.text and (last.number == number or self._level):
                words = last.text + (part if last.number == number else f" {part.strip()}")
                self.found[-1] = last._replace(text=words)
            elif part.strip():
                self.found.append(Line(number, part, self._level))

    def _end_block(self) -> None:
        self.found.append(Line(self.getpos()[0], ""))


ENDINGS: dict[str, Callable[[str], Iterator[Line]]] = {
    ".txt": _plain,
    ".text": _plain,
    ".rst": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
}
