"""Texts that are measured, not asked: perplexity and bits per byte, with intervals over documents.

A file of JSON lines {"text", "id", "source"}. Bits per byte compares models with different tokenizers; perplexity
(per token) only such with one tokenizer. Both are totals over the set, so a long document counts for more.
This file knows nothing of graders, and of how a model is measured (`bits` does).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.errors import EvaluationError
from luthier.evaluation.bits import BitsPerByte
from luthier.evaluation.stats import Interval, bootstrap_metric
from luthier.evaluation.task import read_rows

_KEYS = ("text", "id", "source")


@dataclass(frozen=True, slots=True)
class Document:
    """One text to measure. `source`: what it shares with others."""

    id: str
    text: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Totals over all documents, each with its bootstrap interval over documents (or their sources)."""

    bits_per_byte: float
    bits_per_byte_interval: Interval
    perplexity: float
    perplexity_interval: Interval
    num_documents: int
    num_bytes: int
    num_tokens: int


def load_documents(path: Path | str) -> tuple[Document, ...]:
    """Read texts. Raises EvaluationError naming file, line and field; ids are needed and must differ."""
    path = Path(path)
    documents: dict[str, Document] = {}
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        for key in row:
            if key not in _KEYS:
                raise EvaluationError(f"{where}: field {key!r}: unknown; known: {', '.join(_KEYS)}")
        for key in ("text", "id"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise EvaluationError(f"{where}: field {key!r}: expected a text that is not empty")
        if row["id"] in documents:
            raise EvaluationError(f"{where}: field 'id': {row['id']!r} is there already")
        source = row.get("source")
        if source is not None and not isinstance(source, str):
            raise EvaluationError(f"{where}: field 'source': expected a text")
        documents[row["id"]] = Document(row["id"], row["text"], source)
    if not documents:
        raise EvaluationError(f"{path}: expected one JSON object per line, the file has no rows")
    return tuple(documents.values())


def measure(
    documents: Sequence[Document], bits_of: Callable[[str], BitsPerByte], *, seed: int = 0
) -> Perplexity:
    """Measure each document with `bits_of` (`bits.bits_per_byte_of` of a loaded model) and sum up."""
    found = [bits_of(document.text) for document in documents]
    nats = np.asarray([one.nats_per_token * one.num_tokens for one in found])
    tokens = np.asarray([one.num_tokens for one in found], dtype=np.float64)
    num_bytes = np.asarray([one.num_bytes for one in found], dtype=np.float64)
    clusters = [document.source or f"document {document.id}" for document in documents]

    def bits(drawn: np.ndarray) -> float:
        return float(nats[drawn].sum() / math.log(2) / num_bytes[drawn].sum())

    def perplexity(drawn: np.ndarray) -> float:
        return float(np.exp(nats[drawn].sum() / tokens[drawn].sum()))

    everything = np.arange(len(documents))
    count = len(documents)
    return Perplexity(
        bits_per_byte=bits(everything),
        bits_per_byte_interval=bootstrap_metric(bits, count, clusters=clusters, seed=seed),
        perplexity=perplexity(everything),
        perplexity_interval=bootstrap_metric(perplexity, count, clusters=clusters, seed=seed),
        num_documents=count,
        num_bytes=int(num_bytes.sum()),
        num_tokens=int(tokens.sum()),
    )
