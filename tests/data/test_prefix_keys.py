"""Keys of prefixes: the same tokens behind the same tokens have the same key, in a forest and in padded rows."""

import numpy as np
from hypothesis import given

from luthier.data.batches import microbatches
from luthier.data.forest import forests
from luthier.data.prefix_keys import keys_of_batch, new_keys
from tests.data.test_forest import ROWS, dataset


@given(rows=ROWS)
def test_a_key_stands_for_its_prefix(rows: list[list[int]]) -> None:
    data = dataset(rows)
    everything = range(data.num_rows)
    prefixes = {tuple(row[: end + 1]) for row in rows for end in range(len(row))}
    (forest,) = forests(data, everything, 10**6)
    keys = keys_of_batch(forest)
    assert len(np.unique(keys)) == len(keys) == len(prefixes)
    of_prefix = {}
    for place, index in enumerate(forest.row_indices_B):
        ids = data.row(int(index))[0].tolist()
        for end, node in enumerate(forest.nodes_of_row(place)):
            of_prefix.setdefault(tuple(ids[: end + 1]), keys[node])
            assert of_prefix[tuple(ids[: end + 1])] == keys[node]
    padded = [keys_of_batch(batch) for batch in microbatches(data, everything, 10**6)]
    assert np.array_equal(np.unique(np.concatenate(padded)), np.unique(keys))
    assert sum(map(len, padded)) == data.num_tokens


@given(rows=ROWS)
def test_every_prefix_is_brought_once(rows: list[list[int]]) -> None:
    data = dataset(rows)
    brought = np.concatenate([keys for _, keys in new_keys(data, range(data.num_rows))])
    (forest,) = forests(data, range(data.num_rows), 10**6)
    assert sorted(brought.tolist()) == sorted(keys_of_batch(forest).tolist())
