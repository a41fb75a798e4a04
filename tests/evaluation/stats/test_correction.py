"""Holm's correction against its twin in statsmodels."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from luthier.errors import EvaluationError
from luthier.evaluation import stats
from luthier.evaluation.stats.correction import holm_levels

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def nothing_to_collect() -> Iterator[None]:
    """The twin collects garbage in every call, which takes seconds in a process that holds a test suite."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("nothing_to_collect")
@given(p_values)
def test_equals_its_twin(values: list[float]) -> None:
    twin = multipletests(values, method="holm")[1].tolist()
    assert stats.holm(values) == pytest.approx(twin, rel=1e-9, abs=1e-300)


def test_the_smallest_counts_m_times_the_next_once_less() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []


@given(p_values, st.sampled_from([0.01, 0.05, 0.2]))
def test_levels_say_the_same_as_adjusted_values(values: list[float], alpha: float) -> None:
    levels = holm_levels(values, alpha)
    for value, adjusted, level in zip(values, stats.holm(values), levels, strict=True):
        if abs(adjusted - alpha) > 1e-12:
            assert (adjusted < alpha) == (value < level)


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"expected p values from 0 to 1, found 1\.5"):
        stats.holm([0.1, 1.5])
