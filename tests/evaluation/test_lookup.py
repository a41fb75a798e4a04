"""BM25: the formula worked out by hand, and that what has to do with a question is found."""

import math

import pytest

from luthier.errors import EvaluationError
from luthier.evaluation.lookup import Lookup
from tests.data.shared import SHARED, needs_shared

TEXTS = ["The field is 122 metres long.", "A try is worth four points.", "The field is 68 metres wide."]


def test_the_scores_are_those_of_the_formula() -> None:
    lookup = Lookup(["a a b", "b c", "c c c d"])
    # "a" stands twice in one of three passages of 3, 2 and 4 words (mean 3): the length's share is 1.
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    (weight,) = [weight for place, weight in lookup._weights["a"] if place == 0]
    assert weight == pytest.approx(2 * 2.2 / (2 + 1.2))
    assert idf * weight == pytest.approx(0.98083 * 1.375, rel=1e-4)
    assert lookup.find("c", 3) == ["c c c d", "b c"]
    assert lookup.find("B", 1) == ["b c"]  # as often, in a shorter passage
    assert lookup.find("e", 3) == []


def test_rare_words_count_for_more_and_long_texts_are_cut() -> None:
    assert Lookup(TEXTS).find("How wide is the field?", 2) == [TEXTS[2], TEXTS[0]]
    cut = Lookup([" ".join(f"word{n}" for n in range(250))], max_words=100)
    assert [len(passage.split()) for passage in cut.passages] == [100, 100, 50]
    assert cut.find("word210", 1) == [cut.passages[2]]
    assert cut.hash != Lookup(TEXTS).hash
    with pytest.raises(EvaluationError, match="documents with words"):
        Lookup(["...", ""])


@needs_shared
def test_a_real_text_is_found_by_its_own_words() -> None:
    lines = (SHARED / "classify" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()[1:301]
    texts = sorted({line.split("\t")[1] for line in lines if len(line) > 80})
    lookup = Lookup(texts)
    assert all(lookup.find(text, 1) == [text.strip()] for text in texts)
