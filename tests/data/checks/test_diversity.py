"""Openings and diversity of words: toys, merging, and the real sets."""

import random
from typing import Any

import pytest

from luthier.data.checks.diversity import RepeatedOpenings, WordDiversity, opening
from luthier.data.sources import read_rows
from tests.data.checks.toys import assert_merges, find, run
from tests.data.shared import SHARED, needs_shared

_WORDS = [f"word{i}" for i in range(3000)]


def varied(number: int, length: int = 15, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(_WORDS, k=length)) for _ in range(number)]


def rows(questions: list[str], answers: list[str]) -> list[dict[str, Any]]:
    return [{"question": q, "answer": a} for q, a in zip(questions, answers, strict=True)]


def test_answers_that_begin_alike() -> None:
    answers = varied(200)
    answers[:80] = [f"Sure, I can HELP: {text}" for text in answers[:80]]
    (found,) = find(RepeatedOpenings, rows(varied(200, seed=1), answers))
    assert found.name == "repeated_openings" and found.severity == "warning" and found.count == 80
    assert 'begin with "sure i can help"' in found.message and found.rows[0].number == 1
    assert not find(RepeatedOpenings, rows(varied(200, seed=1), [*answers[:50], *varied(150, seed=2)]))


def test_questions_that_begin_alike_are_a_note_and_an_instruction_is_none() -> None:
    questions = varied(200)
    some = [f"Tell me all about {q}" if i < 100 else q for i, q in enumerate(questions)]
    (found,) = find(RepeatedOpenings, rows(some, varied(200, seed=1)))
    assert found.severity == "note" and found.count == 100
    assert not find(
        RepeatedOpenings, rows([f"Translate this into French: {q}" for q in questions], varied(200, seed=1))
    )


@pytest.mark.parametrize(
    "made",
    [
        [{"text": f"Once upon a time {t}"} for t in varied(150)],
        [{"text": t, "label": "a label of four words"} for t in varied(150)],
        rows(varied(150), ['{"the one key of all": 1}'] * 150),
        rows(varied(99), ["Sure I can help you"] * 99),
    ],
)
def test_documents_labels_structures_and_small_sets_may_begin_alike(made: list[dict[str, Any]]) -> None:
    assert not find(RepeatedOpenings, made)


def test_openings() -> None:
    assert opening("  I'm—SURE, you do")[1] == b"i m sure you"
    assert opening("too short") == opening("") == (0, b"")
    assert opening("日本 語 の 文章")[1].decode() == "日本 語 の 文章"


def test_the_common_openings_are_figures() -> None:
    answers = [f"One two three four {t}" for t in varied(60)] + varied(140)
    _, figures = run(RepeatedOpenings, rows(varied(200, seed=3), answers))
    assert figures["openings"]["answers"] == [{"words": "one two three four", "count": 60, "share": 0.3}]


def test_a_few_sentences_over_and_over() -> None:
    few = varied(5)
    made = rows(varied(400, seed=1), few * 80)
    findings, figures = run(WordDiversity, made)
    assert [(f.name, f.severity, f.message.split(" in ")[1].split(" are ")[0]) for f in findings] == [
        ("low_diversity", "warning", "the answers")
    ]
    assert figures["diversity"]["train"]["prompts"]["diversity"] > 0.98
    assert figures["diversity"]["train"]["answers"]["sequences"] == 400 * 13
    assert abs(figures["diversity"]["train"]["answers"]["distinct_sequences"] - 65) <= 1
    assert not find(WordDiversity, rows(varied(400), varied(400, seed=2)))


@pytest.mark.parametrize("check", [RepeatedOpenings, WordDiversity])
def test_pieces_find_what_the_whole_finds(check: Any) -> None:
    made = rows([f"What about the big {t}" for t in varied(90)] + varied(90, seed=4), varied(4, seed=5) * 45)
    assert find(check, made)
    assert_merges(check, {"train": made, "valid": made[:20]})


@needs_shared
def test_real_sets() -> None:
    rugby = [row.value for row in read_rows(SHARED / "rugby_seed" / "train.jsonl")]
    assert [f.name for f in find(WordDiversity, rugby)] == ["low_diversity", "low_diversity"]
    for path in ("instruct/gsm8k_train.jsonl", "wikisql/train.jsonl"):
        clean = [row.value for row in read_rows(SHARED / path)]
        assert not find(WordDiversity, clean) and not find(RepeatedOpenings, clean)
