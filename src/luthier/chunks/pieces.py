"""A document in pieces that can be shown to a model: whole sentences under one heading, with a little overlap.

A piece knows its lines, so that an answer can name its source. Sizes are counted in words. Knows nothing of tokenizers,
of search, and of where documents lie.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from luthier.chunks.documents import Line, lines_of, read_document
from luthier.errors import ConfigError, DataError

# A stop, what closes a quotation or a bracket, white space, and then what a sentence begins with.
_SENTENCE_END = re.compile(
    r"[.!?…][\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-ÞА-Я])|[。！？]|\n(?=\s*(?:[-*+•|]|\d+[.)])\s)"
)
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|cf|No|Fig|Sec|approx|Inc|Ltd|Co)\.\s*\Z"
)
_LONGEST_ABBREVIATION = 8


@dataclass(frozen=True)
class ChunkSizes:
    """In words. `overlap_words`: how much of a piece's end the next one begins with, in whole sentences.

    Raises ConfigError where a piece could not get on.
    """

    max_words: int = 180
    overlap_words: int = 30

    def __post_init__(self) -> None:
        if self.max_words < 1 or not 0 <= self.overlap_words < self.max_words:
            raise ConfigError(
                f"expected at least 1 word a piece and an overlap of fewer words than that, got {self.max_words} and "
                f"{self.overlap_words}"
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines count from 1, both included. `heading`: the headings above it, outermost first, joined by ` > `."""

    text: str
    first_line: int
    last_line: int
    heading: str = ""


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    first_line: int
    last_line: int
    ends_paragraph: bool
    num_words: int


def chunk_file(path: Path, sizes: ChunkSizes | None = None) -> list[Chunk]:
    """The pieces of a document. Raises DataError where it is no text document, or holds no words."""
    chunks = chunk_text(read_document(path), path.suffix, sizes)
    if not chunks:
        raise DataError(f"{path}: expected a document with words in it, found none")
    return chunks


def chunk_text(text: str, ending: str = ".txt", sizes: ChunkSizes | None = None) -> list[Chunk]:
    """The pieces of a text in their order; `ending` says how headings are written in it."""
    sizes = sizes or ChunkSizes()
    return [
        chunk
        for heading, section in _sections(lines_of(text, ending))
        for chunk in _pieces(_sentences(section), heading, sizes)
    ]


def _sections(lines: Iterator[Line]) -> Iterator[tuple[str, list[Line]]]:
    """(headings above, lines) of what stands between two headings."""
    trail: list[Line] = []
    section: list[Line] = []
    for line in lines:
        if not line.level:
            section.append(line)
            continue
        yield _joined(trail), section
        section = []
        trail = [*(above for above in trail if above.level < line.level), line]
    yield _joined(trail), section


def _joined(trail: Sequence[Line]) -> str:
    return " > ".join(" ".join(heading.text.split()) for heading in trail)


def _sentences(section: Sequence[Line]) -> Iterator[_Sentence]:
    paragraph: list[Line] = []
    for line in [*section, Line(0, "")]:
        if line.text.strip():
            paragraph.append(line)
        elif paragraph:
            yield from _sentences_of(paragraph)
            paragraph = []


def _sentences_of(paragraph: Sequence[Line]) -> Iterator[_Sentence]:
    text = "\n".join(line.text for line in paragraph)
    starts = list(accumulate((len(line.text) + 1 for line in paragraph), initial=0))
    start = 0
    for end in [*_ends(text), len(text)]:
        if text[start:end].strip():
            yield _sentence(text, start, end, paragraph, starts)
        start = end


def _sentence(text: str, start: int, end: int, paragraph: Sequence[Line], starts: Sequence[int]) -> _Sentence:
    """Characters [start, end) of a paragraph, whose lines begin at `starts`, without the space around them."""
    piece = text[start:end]
    first = start + len(piece) - len(piece.lstrip())
    last = start + len(piece.rstrip()) - 1
    first_line, last_line = (paragraph[bisect_right(starts, place) - 1].number for place in (first, last))
    return _Sentence(piece.strip(), first_line, last_line, not text[end:].strip(), len(piece.split()))


def _ends(text: str) -> Iterator[int]:
    for match in _SENTENCE_END.finditer(text):
        before = text[max(0, match.start() - _LONGEST_ABBREVIATION) : match.end()]
        if not _ABBREVIATION.search(before):
            yield match.end()


def _pieces(sentences: Iterator[_Sentence], heading: str, sizes: ChunkSizes) -> Iterator[Chunk]:
    """As many sentences as fit; the next piece begins with the last ones of this piece, as far as the overlap goes."""
    held: list[_Sentence] = []
    num_new = 0  # of the held ones, how many stand in no piece yet
    for sentence in (part for one in sentences for part in _cut(one, sizes.max_words)):
        if num_new and sum(one.num_words for one in held) + sentence.num_words > sizes.max_words:
            yield _chunk(held, heading)
            held = _tail(held, min(sizes.overlap_words, sizes.max_words - sentence.num_words))
            num_new = 0
        held.append(sentence)
        num_new += 1
    if num_new:
        yield _chunk(held, heading)


def _tail(sentences: Sequence[_Sentence], max_words: int) -> list[_Sentence]:
    kept: list[_Sentence] = []
    for sentence in reversed(sentences):
        max_words -= sentence.num_words
        if max_words < 0:
            break
        kept.insert(0, sentence)
    return kept


def _cut(sentence: _Sentence, max_words: int) -> Iterator[_Sentence]:
    """What is longer than a piece and has no stops (a table, a list) in pieces of words; all name all its lines."""
    if sentence.num_words <= max_words:
        yield sentence
        return
    words = list(re.finditer(r"\S+", sentence.text))
    for first in range(0, len(words), max_words):
        some = words[first : first + max_words]
        ends = sentence.ends_paragraph and first + max_words >= len(words)
        text = sentence.text[some[0].start() : some[-1].end()]
        yield _Sentence(text, sentence.first_line, sentence.last_line, ends, len(some))


def _chunk(sentences: Sequence[_Sentence], heading: str) -> Chunk:
    text = "".join(one.text + ("\n\n" if one.ends_paragraph else " ") for one in sentences).strip()
    return Chunk(text, sentences[0].first_line, sentences[-1].last_line, heading)
