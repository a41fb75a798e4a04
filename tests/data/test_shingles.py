"""The vectorised word n-grams against a reference that goes word by word."""

import itertools
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import shingles as module
from luthier.data.shingles import Grams, ngrams, shingles, words
from tests.data.shared import SHARED, needs_shared

_MASK = (1 << 64) - 1
_BASE, _STEP = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_ALPHABET = "aB1 .,'\n\té—İßﬁ中文かなไทย한e\u0301\ud800😀²"


def _mix(value: int) -> int:
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


def _is_word(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in module._WITHOUT_SPACES)


def reference_words(text: str) -> list[str]:
    """The words of a text, in plain Python."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    previous = " "
    for character in folded:
        if unicodedata.category(character)[0] not in "LMN":
            previous = " "
            continue
        if previous != " " and not _is_word(character) and not _is_word(previous):
            found[-1] += character
        else:
            found.append(character)
        previous = character
    return found


def _word_hash(word: str) -> int:
    return _mix(sum(ord(c) * pow(_BASE, i, 1 << 64) for i, c in enumerate(word)) & _MASK)


def reference_shingles(text: str, n: int) -> list[int]:
    """The n-gram hashes of a text, in plain Python."""
    hashes = [_word_hash(word) for word in reference_words(text)]
    size = min(n, len(hashes))
    if not hashes:
        return []
    grams = [hashes[i : i + size] for i in range(len(hashes) - size + 1)]
    return [_mix(sum(h * pow(_STEP, i, 1 << 64) for i, h in enumerate(gram)) & _MASK) for gram in grams]


def split(grams: Grams) -> list[list[int]]:
    """The hashes of each text."""
    return [grams.hashes[a:b].tolist() for a, b in itertools.pairwise(grams.offsets.tolist())]


_texts = st.lists(
    st.one_of(st.text(st.sampled_from(_ALPHABET), max_size=25), st.text(max_size=12)), max_size=6
)


@given(texts=_texts, n=st.integers(1, 5))
def test_they_are_those_of_the_reference(texts: list[str], n: int) -> None:
    assert split(shingles(texts, n)) == [reference_shingles(text, n) for text in texts]


@given(texts=_texts, size=st.integers(1, 40))
@settings(max_examples=50)
def test_batches_change_nothing(texts: list[str], size: int) -> None:
    whole = split(shingles(texts, 2))
    before = module.BATCH_CHARACTERS
    module.BATCH_CHARACTERS = size
    try:
        assert split(shingles(texts, 2)) == whole
    finally:
        module.BATCH_CHARACTERS = before


def test_case_punctuation_and_spacing_do_not_count() -> None:
    one, other, third = split(shingles(["Hello,   WORLD! It's", "hello world it s", "hello worlds its"], 2))
    assert one == other != third


def test_full_width_and_ligatures_are_folded() -> None:
    assert (
        len(
            {
                tuple(gram)
                for gram in split(shingles(["ﬁne ＡＢＣ", "fine abc", "FINE Abc é", "fine abc é"], 1))
            }
        )
        == 2
    )


def test_short_texts_are_one_shingle_unless_not_wanted() -> None:
    grams = words(["one two", "one two three four", ""])
    assert np.diff(ngrams(grams, 3).offsets).tolist() == [1, 2, 0]
    assert np.diff(ngrams(grams, 3, short=False).offsets).tolist() == [0, 2, 0]


def test_a_text_longer_than_a_batch() -> None:
    text = "ein langer Text " * 30_000
    assert len(words([text, "kurz"]).hashes) == 90_001


def test_the_hashes_never_change() -> None:
    """Frozen benchmark hashes and the sides of a split rest on them."""
    grams = shingles(["The quick brown fox", "中文 и кириллица"], 2)
    assert [hex(h) for h in grams.hashes.tolist()] == FROZEN


FROZEN = [
    "0xc41a3c6826125df7",
    "0x93e75185c1e8fe0c",
    "0xbda557e9a19cd011",
    "0x5a47f745e8ba2e93",
    "0x6d33732c064e9b26",
    "0x4f055a21acaae824",
]


@needs_shared
def test_real_texts() -> None:
    lines = (SHARED / "classify" / "SMSSpamCollection").read_text("utf-8").splitlines()[:800]
    assert split(shingles(lines, 3)) == [reference_shingles(line, 3) for line in lines]
