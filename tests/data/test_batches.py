"""Every row once an epoch, and micro-batches change nothing but how it is computed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.batches import BatchPlan, microbatches
from luthier.data.dataset import TokenDataset

_LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def _dataset(lengths: list[int]) -> TokenDataset:
    """Rows of distinct ids (from 1), each weighted differently; the first of a row never."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    token_ids = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    weights = (token_ids % 3).astype(np.float32) / 2
    weights[offsets[:-1]] = 0
    return TokenDataset(token_ids, weights, offsets, [f"f:{i + 1}" for i in range(len(lengths))])


@given(lengths=_LENGTHS, batch_size=st.integers(1, 40), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_an_epoch_takes_every_row_exactly_once(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    plan = BatchPlan(_dataset(lengths), batch_size, 64, seed)
    first = epoch * plan.steps_per_epoch
    steps = [plan.rows_of_step(step) for step in range(first, first + plan.steps_per_epoch)]
    assert sorted(index for rows in steps for index in rows) == list(range(len(lengths)))
    assert all(len(rows) == batch_size for rows in steps[:-1]) and 0 < len(steps[-1]) <= batch_size


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    dataset = _dataset([3] * 50)
    plan, same = BatchPlan(dataset, 50, 64, seed=7), BatchPlan(dataset, 50, 64, seed=7)
    assert same.rows_of_step(3) == plan.rows_of_step(3)
    other = BatchPlan(dataset, 50, 64, seed=8)
    assert len({tuple(p.rows_of_step(s)) for p in (plan, other) for s in (0, 1)}) == 4


@settings(max_examples=60)
@given(lengths=_LENGTHS, budget=st.integers(1, 200))
def test_microbatches_keep_rows_targets_and_weights(lengths: list[int], budget: int) -> None:
    dataset = _dataset(lengths)
    batches = microbatches(dataset, range(len(lengths)), budget)
    seen: list[int] = []
    for batch in batches:
        rows, width = batch.token_ids_BT.shape
        assert rows == 1 or rows * width <= budget
        assert batch.num_tokens == sum(lengths[i] for i in batch.row_indices_B)
        for line, index in enumerate(batch.row_indices_B.tolist()):
            ids, weights = dataset.row(index)
            length = len(ids)
            np.testing.assert_array_equal(batch.token_ids_BT[line, :length], ids)
            np.testing.assert_array_equal(batch.targets_BT[line, : length - 1], ids[1:])
            np.testing.assert_array_equal(batch.weights_BT[line, : length - 1], weights[1:])
            assert not batch.weights_BT[line, length - 1 :].any()
            assert not batch.token_ids_BT[line, length:].any()
            seen.append(index)
    assert sorted(seen) == list(range(len(lengths)))
    assert sum(batch.weight_sum for batch in batches) == dataset.weights.sum(dtype=np.float64)
    longest = [max(lengths[i] for i in batch.row_indices_B) for batch in batches]
    assert longest == sorted(longest, reverse=True)
