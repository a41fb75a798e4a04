"""Rows of the same meaning, where the extra is installed; silence where nobody asks."""

import pytest

from luthier.data.checks.semantic_duplicates import SemanticDuplicates
from luthier.errors import DataError
from tests.data.checks.toys import assert_merges, find
from tests.data.test_semantic import _INSTALLED

_ROWS = [
    {"question": "why do i have to verify top up?", "answer": "verify_top_up"},
    {"question": "How do I bake a cake?", "answer": "With flour."},
    {"question": "Why do I need to verify a top-up?", "answer": "verify_top_up"},
    {"question": "How do I bake a cake?", "answer": "With flour."},
]


def test_nobody_asked() -> None:
    assert not find(SemanticDuplicates, _ROWS)


@pytest.mark.skipif(_INSTALLED, reason="the extra `embed` is installed")
def test_without_the_extra_it_is_refused() -> None:
    with pytest.raises(DataError, match="luthier"):
        find(SemanticDuplicates, _ROWS, semantic=True)


@pytest.mark.skipif(not _INSTALLED, reason="the extra `embed` is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_same_in_other_words() -> None:
    (found,) = find(SemanticDuplicates, _ROWS, semantic=True)
    assert found.name == "semantic_duplicate_rows" and found.count == 1 and found.rows[0].number == 3
    assert found.examples == (
        "why do i have to verify top up? verify_top_up ~ Why do I need to verify a top-up? verify_top_up",
    )
    assert_merges(SemanticDuplicates, {"train": _ROWS, "valid": _ROWS}, semantic=True)
