"""Signatures against exact similarity, against datasketch, and the odds of the bands."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from luthier.data.minhash import NOTHING, NUM_PLACES, band_keys, signatures, similarity, union
from luthier.data.shingles import Grams, shingles
from tests.data.shared import SHARED, needs_shared

_RANDOM = np.random.default_rng(7)


def pairs_of(size: int, jaccard: float, num_pairs: int) -> tuple[Grams, float]:
    """Pairs of random sets of `size`, one after the other, and their exact similarity."""
    common = round(2 * size * jaccard / (1 + jaccard))
    drawn = _RANDOM.integers(0, 2**64, (num_pairs, 2 * size - common), dtype=np.uint64)
    sets = np.stack([drawn[:, :size], drawn[:, size - common :]], axis=1)
    return Grams(sets.reshape(-1), np.arange(2 * num_pairs + 1) * size), common / (2 * size - common)


def set_of(grams: Grams, index: int) -> set[int]:
    return set(grams.hashes[grams.offsets[index] : grams.offsets[index + 1]].tolist())


@pytest.mark.parametrize("size", [8, 40, 250])
@pytest.mark.parametrize("jaccard", [0.3, 0.6, 0.8, 0.95])
def test_the_estimate_is_unbiased_and_as_exact_as_the_theory_says(size: int, jaccard: float) -> None:
    grams, exact = pairs_of(size, jaccard, 1500)
    found = signatures(grams)
    estimates = similarity(found[0::2], found[1::2])
    error = (exact * (1 - exact) / NUM_PLACES) ** 0.5
    assert abs(estimates.mean() - exact) < 4 * error / 1500**0.5 + 1e-9
    assert estimates.std() < 1.1 * error + 1e-9


@pytest.mark.parametrize(
    ("jaccard", "least", "most"), [(0.2, 0.0, 0.03), (0.7, 0.96, 1.0), (0.85, 0.998, 1.0)]
)
def test_candidates_come_about_as_often_as_the_bands_promise(
    jaccard: float, least: float, most: float
) -> None:
    grams, _ = pairs_of(100, jaccard, 2000)
    keys = band_keys(signatures(grams))
    share = (keys[:, 0::2] == keys[:, 1::2]).any(axis=0).mean()
    assert least <= share <= most


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=8), max_size=6))
def test_a_signature_depends_on_the_set_alone(sets: list[list[int]]) -> None:
    def signed(values: list[list[int]]) -> NDArray[np.uint32]:
        flat = np.array([x for one in values for x in one], np.uint64)
        return signatures(Grams(flat, np.cumsum([0, *map(len, values)])))

    whole = signed(sets)
    for index, values in enumerate(sets):
        assert (signed([[*values[::-1], *values]])[0] == whole[index]).all()
        assert values or (whole[index] == NOTHING).all()
    if len(sets) > 1:
        assert (union(whole[:1], whole[1:2]) == signed([sets[0] + sets[1]])).all()


@needs_shared
def test_real_texts_beside_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch")
    lines = sorted((SHARED / "classify" / "SMSSpamCollection").read_text("utf-8").splitlines())[:600]
    grams = shingles(lines, 2)
    ours = signatures(grams)
    sets = [set_of(grams, i) for i in range(len(lines))]
    theirs = []
    for one in sets:
        sketch = datasketch.MinHash(num_perm=NUM_PLACES)
        sketch.update_batch([x.to_bytes(8, "little") for x in one])
        theirs.append(sketch)
    errors: list[tuple[float, float]] = []
    for i in range(len(lines) - 1):
        both = sets[i] | sets[i + 1]
        exact = len(sets[i] & sets[i + 1]) / len(both) if both else 1.0
        if 0.1 < exact < 1:
            mine = float(similarity(ours[i : i + 1], ours[i + 1 : i + 2])[0])
            errors.append((mine - exact, theirs[i].jaccard(theirs[i + 1]) - exact))
    assert len(errors) > 50
    mine_rms, their_rms = np.sqrt(np.square(errors).mean(axis=0))
    assert mine_rms < 1.25 * their_rms and mine_rms < 0.05


def test_signatures_never_change() -> None:
    found = signatures(shingles(["How wide is a rugby league field?"], 2))[0, :4]
    assert found.tolist() == FROZEN


FROZEN = [37815363, 188836690, 871641808, 1139903635]
