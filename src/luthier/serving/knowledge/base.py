"""A base of knowledge as it is searched: its folder opened, a question in, the best passages out.

Words are searched by BM25; where the base keeps vectors of meaning and an embedder is handed in, both rankings are
joined by reciprocal rank fusion (Cormack, Clarke and Büttcher 2009). Exact, in numpy. Knows nothing of prompts and
models.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.chunks import Chunk
from luthier.errors import ServingError
from luthier.registry.specialist import check_name
from luthier.serving.knowledge.bm25 import Index
from luthier.serving.knowledge.folder import (
    Contents,
    Document,
    load_index,
    load_pieces,
    load_vectors,
    read_contents,
)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to vectors of length 1: (num_texts, width)."""

_FUSION = 60  # the paper's constant: how much the first ranks weigh against the later ones
_FUSED = 100  # of each ranking


@dataclass(frozen=True, slots=True)
class Source:
    """Where a passage stands. Lines count from 1, both included."""

    document: str
    first_line: int
    last_line: int
    heading: str = ""

    def __str__(self) -> str:
        lines = (
            f"{self.first_line}"
            if self.first_line == self.last_line
            else f"{self.first_line}-{self.last_line}"
        )
        return f"{self.document}:{lines}"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. `score`: of the search that found it; comparable within one answer alone."""

    text: str
    source: Source
    score: float

    def to_dict(self) -> dict[str, Any]:
        """What comes back with an answer: everything but the text."""
        where = self.source
        return {
            "document": where.document,
            "lines": [where.first_line, where.last_line],
            "heading": where.heading,
            "score": self.score,
        }


@dataclass(frozen=True)
class KnowledgeBase:
    """Opened once and searched often, from any number of threads; no file is read after the opening."""

    name: str
    contents: Contents
    index: Index
    pieces: tuple[tuple[Document, Chunk], ...]
    embed: Embed | None = None
    vectors: NDArray[np.float32] | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], embed: Embed | None = None) -> "KnowledgeBase":
        """What `luthier knowledge add` wrote. Raises ServingError where the folder is none or is damaged."""
        place = Path(folder)
        while True:
            contents = read_contents(place)
            try:
                return cls._read(place, contents, embed)
            except ServingError:
                if read_contents(place) == contents:  # no other process has changed it meanwhile
                    raise

    @classmethod
    def _read(cls, place: Path, contents: Contents, embed: Embed | None) -> "KnowledgeBase":
        index = load_index(place, contents)
        pieces = tuple((one, piece) for one in contents.documents for piece in load_pieces(place, one))
        vectors = load_vectors(place, contents) if embed is not None and contents.meaning else None
        return cls(place.name, contents, index, pieces, embed if vectors is not None else None, vectors)

    def search(self, question: str, k: int = 4) -> list[Passage]:
        """The k best passages, best first; fewer where no more have a word of the question. Raises ServingError."""
        if k < 1:
            raise ServingError(f"expected to look for at least 1 passage, got {k}")
        score_C = self.index.scores(question)
        if self.pieces and self.embed is not None and self.vectors is not None:
            score_C = _fused(score_C, self.vectors @ self.embed([question])[0])
        return [self._passage(piece, float(score_C[piece])) for piece in _best(score_C, k)]

    def _passage(self, piece: int, score: float) -> Passage:
        document, chunk = self.pieces[piece]
        source = Source(document.name, chunk.first_line, chunk.last_line, chunk.heading)
        return Passage(chunk.text, source, score)


def _best(score_C: NDArray[np.float32], k: int) -> list[int]:
    """The k highest above 0, earlier pieces first among equals."""
    found = np.flatnonzero(score_C > 0)
    if len(found) > k:
        limit = np.partition(score_C[found], len(found) - k)[len(found) - k]
        found = found[score_C[found] >= limit]
    return [int(piece) for piece in found[np.argsort(-score_C[found], kind="stable")][:k]]


def _fused(words_C: NDArray[np.float32], meaning_C: NDArray[np.float32]) -> NDArray[np.float32]:
    """sum over rankings of 1 / (60 + rank); the meaning ranks every piece, the words those that have one."""
    fused_C = np.zeros(len(words_C), np.float32)
    for ranked in (_best(words_C, _FUSED), _best(meaning_C + 2, _FUSED)):
        for rank, piece in enumerate(ranked, start=1):
            fused_C[piece] += 1 / (_FUSION + rank)
    return fused_C


def default_folder(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the base of this name lies: in $LUTHIER_KNOWLEDGE, or in `knowledge` in the working folder.

    Raises RegistryError where the name could be a path.
    """
    check_name("knowledge", name)
    return Path(environment.get("LUTHIER_KNOWLEDGE") or "knowledge") / name
