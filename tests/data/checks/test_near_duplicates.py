"""Near-duplicates among toys of known likeness and in the real files."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.data.checks.check import Check
from luthier.data.checks.finding import Finding
from luthier.data.checks.near_duplicates import NearDuplicates, beside
from luthier.data.minhash import signatures
from luthier.data.neighbours import among_all, common_values, near_pairs
from luthier.data.shingles import shingles
from luthier.data.signature_store import SignatureStore
from luthier.data.sources import read_rows
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import SHARED, needs_shared

_WORDS = [f"word{i}" for i in range(5000)]


def sentences(number: int, length: int, seed: int = 0) -> list[str]:
    """Sentences of words drawn at random: no two are alike."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(_WORDS, k=length)) for _ in range(number)]


def with_words_changed(text: str, count: int, seed: int = 0) -> str:
    rng = random.Random(seed)
    words = text.split()
    for place in rng.sample(range(len(words)), count):
        words[place] = f"other{rng.randrange(10**6)}"
    return " ".join(words)


def asks(
    questions: Sequence[str], answer: str = "the same long answer to each of them"
) -> list[dict[str, str]]:
    return [{"question": question, "answer": answer} for question in questions]


def one(findings: Sequence[Finding], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def test_rows_that_differ_in_a_word_are_found_and_shown_side_by_side() -> None:
    texts = sentences(60, 40)
    rows = asks([*texts, with_words_changed(texts[3], 1), texts[5].upper() + "!!"])
    found = one(find(NearDuplicates, rows), "near_duplicate_rows")
    assert [row.number for row in found.rows] == [61, 62]
    assert found.count == 2 and found.severity == "note" and found.share == pytest.approx(2 / 62)
    assert found.examples is not None and " ~ " in found.examples[0] and "other" in found.examples[0]


def test_exact_copies_are_not_counted_again() -> None:
    assert not find(NearDuplicates, asks(sentences(30, 20) * 3))
    texts = sentences(30, 40)
    near = with_words_changed(texts[0], 1)
    found = one(find(NearDuplicates, asks([*texts, near, near, texts[0]])), "near_duplicate_rows")
    assert found.count == 1 and "1 of 31 distinct training rows" in found.message


def test_another_answer_is_another_row() -> None:
    texts = sentences(30, 40)
    rows = [*asks(texts, "spam"), *asks([with_words_changed(texts[3], 1)], "ham")]
    assert not find(NearDuplicates, rows)


def test_a_template_makes_no_rows_alike_but_a_copy_under_it_is_found() -> None:
    template = "Decide whether the review that follows is friendly or not and answer with one word only: " * 3
    texts = sentences(200, 30)
    rows = asks([template + text for text in texts], "friendly")
    assert not find(NearDuplicates, rows)
    rows += asks([template + with_words_changed(texts[7], 1)], "friendly")
    assert one(find(NearDuplicates, rows), "near_duplicate_rows").count == 1


def test_leaks_of_near_duplicates_between_splits() -> None:
    train, other = sentences(80, 25), sentences(20, 25, seed=1)
    valid = [*other, with_words_changed(train[4], 2), train[9] + " thanks", train[11]]
    found = find(
        NearDuplicates, {"train": asks(train), "valid": asks(valid), "test": asks([valid[20] + " please"])}
    )
    leak = one(found, "valid_near_duplicates_in_train")
    assert [row.number for row in leak.rows] == [21, 22]  # 23 is the same question: found elsewhere
    assert leak.severity == "warning"
    assert one(found, "test_near_duplicates_in_valid").count == 1
    assert one(found, "test_near_duplicates_in_train").count == 1


def test_every_copy_of_a_leaked_question_counts_and_items_are_compared_too() -> None:
    train = sentences(50, 25)
    item = {"question": with_words_changed(train[4], 2), "must": ["x"]}
    found = find(NearDuplicates, {"train": asks(train), "test": [item, item]})
    assert one(found, "test_near_duplicates_in_train").count == 2


def test_documents_are_compared_whole() -> None:
    texts = sentences(30, 80)
    rows = [{"text": text} for text in [*texts, with_words_changed(texts[2], 3)]]
    assert one(find(NearDuplicates, rows), "near_duplicate_rows").count == 1
    leak = find(NearDuplicates, {"train": rows[:30], "valid": rows[30:]})
    assert one(leak, "valid_near_duplicates_in_train").count == 1


def test_empty_and_odd_rows_are_no_trouble() -> None:
    rows: list[dict[str, Any]] = [{"question": "", "answer": ""}, {"question": "…", "answer": "—"}, {"x": 1}]
    assert not find(NearDuplicates, {"train": rows, "valid": rows})


@pytest.mark.parametrize("seed", range(4))
def test_pieces_find_what_the_whole_finds(seed: int) -> None:
    rng = random.Random(seed)
    texts = sentences(60, 20, seed)
    mixed = [with_words_changed(rng.choice(texts), rng.randrange(4), i) for i in range(200)]
    assert find(NearDuplicates, asks(mixed))
    assert_merges(
        NearDuplicates, {"train": asks(mixed[:120]), "valid": asks(mixed[120:160]), "test": asks(mixed[160:])}
    )


def test_recall_and_precision_on_pairs_of_known_likeness(tmp_path: Path) -> None:
    """Of pairs at 0.8 and over nearly all are found at the threshold 0.7, of those at 0.55 and under nearly none."""
    texts = sentences(1200, 60)
    others = [with_words_changed(text, i % 12, i) for i, text in enumerate(texts)]
    both = [text for pair in zip(texts, others, strict=True) for text in pair]
    grams = shingles(both, 2)
    sets = [set(grams.hashes[a:b].tolist()) for a, b in zip(grams.offsets, grams.offsets[1:], strict=False)]
    exact = np.array([len(a & b) / len(a | b) for a, b in zip(sets[0::2], sets[1::2], strict=True)])
    store = SignatureStore(tmp_path)
    store.append(signatures(grams))
    found, chosen = np.zeros(len(texts), bool), np.arange(len(both))

    def all_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.ones(len(first), bool)

    for first, second in near_pairs(
        store, chosen, common_values(store, chosen), 0.7, among_all, all_pairs, tmp_path
    ):
        assert (second - first == 1).all() and (first % 2 == 0).all()  # never two that are not a pair
        found[first // 2] = True
    assert found[exact >= 0.8].mean() > 0.98 and (exact >= 0.8).sum() > 200
    assert found[exact <= 0.55].mean() < 0.01 and (exact <= 0.55).sum() > 150


def test_pairs_are_shown_from_where_they_differ() -> None:
    head = "the same beginning of both of them goes on and on for a while before "
    assert beside(head + "one end", head + "another end") == (
        "… goes on and on for a while before one end ~ … goes on and on for a while before another end"
    )
    assert beside("short one", "short two") == "short one ~ short two"


def real(path: str) -> list[dict[str, Any]]:
    return [row.value for row in read_rows(SHARED / path)]


@needs_shared
def test_real_files() -> None:
    splits = {name: real(f"wikisql/{name}.jsonl") for name in ("train", "valid", "test")}
    assert {f.severity for f in find(NearDuplicates, splits)} <= {"note"}  # type: ignore[arg-type]
    assert not [f for f in find(NearDuplicates, splits) if "_in_" in f.name]  # type: ignore[arg-type]
    assert not find(NearDuplicates, real("instruct/gsm8k_train.jsonl"))
    rugby = find(NearDuplicates, real("rugby_seed/train.jsonl"))
    assert one(rugby, "near_duplicate_rows").severity == "warning"


def test_it_is_a_check() -> None:
    assert issubclass(NearDuplicates, Check)
