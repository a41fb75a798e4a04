"""A key for every prefix: tokens that stand behind the same tokens have the same one, in any data set.

A node of a prefix tree is the path from its root, so its key is the hash of its parent's key and its own token. Keys
are 16 bytes of BLAKE2b in numpy's `S16`, which sorts and compares them as bytes. Knows nothing of torch or models.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.batches import Batch, MicroBatch
from luthier.data.dataset import TokenDataset
from luthier.data.forest import sort_rows
from luthier.data.sharing import common_prefix

KEY_BYTES = 16
Keys = NDArray[np.bytes_]


def as_keys(digests: Iterable[bytes]) -> Keys:
    """Digests of 16 bytes as an array."""
    return np.frombuffer(b"".join(digests), dtype=f"S{KEY_BYTES}")


def keys_of_batch(batch: Batch) -> Keys:
    """The keys of the nodes of a forest, shape (nodes,); of padded rows those of their tokens, without pads."""
    if isinstance(batch, MicroBatch):
        rows = zip(batch.token_ids_BT, batch.lengths_B, strict=True)
        return as_keys(key for ids, length in rows for key in _chain(b"", ids[:length]))
    digests: list[bytes] = []
    tokens = _token_bytes(batch.token_ids_N)
    for token, parent in zip(tokens, batch.parents_N.tolist(), strict=True):
        digests.append(_key(b"" if parent < 0 else digests[parent], token))
    return as_keys(digests)


def new_keys(dataset: TokenDataset, rows: Iterable[int]) -> Iterator[tuple[int, Keys]]:
    """Each row and the keys that it brings, in the order of tokens: every prefix of the rows is brought by one row."""
    before, path = np.empty(0, np.int32), list[bytes]()
    for index in sort_rows(dataset, list(rows)):
        ids, _ = dataset.row(index)
        shared = common_prefix(before, ids)
        brought = list(_chain(path[shared - 1] if shared else b"", ids[shared:]))
        path = path[:shared] + brought
        before = ids
        yield index, as_keys(brought)


def _chain(key: bytes, ids: NDArray[np.integer[Any]]) -> Iterator[bytes]:
    for token in _token_bytes(ids):
        key = _key(key, token)
        yield key


def _key(parent: bytes, token: bytes) -> bytes:
    return blake2b(parent + token, digest_size=KEY_BYTES).digest()


def _token_bytes(ids: NDArray[np.integer[Any]]) -> Iterator[bytes]:
    raw = ids.astype("<u4").tobytes()
    return (raw[start : start + 4] for start in range(0, len(raw), 4))
