"""The demo's dataset keeps its word: splits share no phrasing, numbers are right, the seed decides."""

import json
import re
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from luthier.demo import build_demo_dataset, write_demo_dataset
from luthier.demo.combined import COMBINED_PHRASEBOOKS
from luthier.demo.dataset import CLOSING_QUESTION, SPLITS, DemoDataset, Example, Split, build_examples
from luthier.demo.facts import FACT_BY_NAME, FACTS, RUGBY_NUMBERS, numbers_of, wrong_numbers
from luthier.demo.grammar import Core, FilledCore, Form, normalised


@cache
def made() -> dict[Split, list[Example]]:
    """With seed 0."""
    return build_examples(0)


@cache
def dataset() -> DemoDataset:
    """The same, as rows."""
    return build_demo_dataset(0)


def contains_number(text: str, number: str) -> bool:
    """Whether `number` stands in the text as a whole number: "16" is not in "160" nor in "5.16"."""
    return re.search(rf"(?<![\d.]){re.escape(number)}(?!\d|\.\d)", text) is not None


def passes(answer: str, must: list[str], must_not: list[str]) -> bool:
    if not answer.strip():
        return False
    return all(contains_number(answer, n) for n in must) and not any(
        contains_number(answer, n) for n in must_not
    )


def frames(examples: list[Example]) -> set[str]:
    return {normalised(example.filled.core.template) for example in examples}


def wordings(split: Split) -> set[str]:
    return {normalised(example.filled.direct) for example in made()[split]}


def test_the_number_matcher_takes_whole_numbers_only() -> None:
    assert contains_number("It is 5.5 metres.", "5.5")
    assert contains_number("between 6-11 m", "11") and contains_number("It is 16.", "16")
    assert not contains_number("100 metres", "10") and not contains_number("3.5 metres", "3")


def test_counts_per_split_and_kind() -> None:
    kinds = {s: Counter(example.subject.kind for example in made()[s]) for s in SPLITS}
    num_train = len(dataset().train)
    assert 1600 <= num_train <= 2400
    assert kinds["train"]["combined"] >= 0.15 * num_train
    assert kinds["train"]["near"] + kinds["train"]["off"] >= 0.25 * num_train
    assert len(dataset().valid) == 120
    assert 160 <= len(dataset().test) <= 180
    assert len(dataset().other) == 80
    assert kinds["test"]["combined"] >= 48 and kinds["test"]["near"] == 40 and kinds["test"]["off"] == 40
    singles = Counter(e.subject.name for e in made()["test"] if e.subject.kind == "single")
    assert set(singles) == set(FACT_BY_NAME) and min(singles.values()) >= 12


def test_no_question_and_no_wording_occurs_twice_across_splits() -> None:
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        asked = [{normalised(example.question) for example in made()[s]} for s in (first, second)]
        assert not asked[0] & asked[1]
        assert not wordings(first) & wordings(second)


def test_the_closing_question_is_not_trained_on() -> None:
    closing = normalised(CLOSING_QUESTION)
    for split in ("train", "valid"):
        assert closing not in wordings(split)
        assert not any(closing in normalised(example.question) for example in made()[split])


def test_no_question_occurs_twice_within_a_split() -> None:
    for split in SPLITS:
        asked = [normalised(example.question) for example in made()[split]]
        assert len(asked) == len(set(asked))


def test_unseen_frames_are_unseen_and_make_up_half_of_the_items() -> None:
    train_frames = frames(made()["train"])
    for split in ("valid", "test"):
        unseen = [example for example in made()[split] if example.novelty == "unseen-frame"]
        others = [example for example in made()[split] if example.novelty != "unseen-frame"]
        assert not frames(unseen) & train_frames
        assert frames(others) <= train_frames
        assert len(unseen) >= len(made()[split]) / 2
    for kind in ("single", "combined", "near", "off"):
        items = [row for row in (*dataset().test, *dataset().other) if kind in row["tags"]]
        assert sum("unseen-frame" in row["tags"] for row in items) >= len(items) / 2
        assert all(("unseen-frame" in row["tags"]) != ("unseen-wording" in row["tags"]) for row in items)


def test_items_use_only_words_that_train_uses() -> None:
    known = Counter(w for example in made()["train"] for w in normalised(example.question).split())
    for split in ("valid", "test"):
        for example in made()[split]:
            assert all(word in known for word in normalised(example.question).split()), example.question


def test_every_gold_answer_passes_its_own_item() -> None:
    for row in (*dataset().valid, *dataset().test, *dataset().other):
        gold = row["answer"] if "answer" in row else row["messages"][-1]["content"]
        assert passes(gold, row["must"], row["must_not"]), row
        assert not passes("", row["must"], row["must_not"])


def test_no_other_gold_answer_passes_a_single_fact_item() -> None:
    for fact in FACTS:
        must, must_not = numbers_of([fact.name]), wrong_numbers([fact.name])
        for other in FACTS:
            expected = other is fact
            assert all(passes(answer, must, must_not) == expected for answer in other.answers), (fact, other)


@pytest.mark.parametrize("split", SPLITS)
def test_answers_hold_the_numbers_of_their_tags_and_no_others(split: Split) -> None:
    for example in made()[split]:
        names = example.subject.facts
        assert passes(example.answer, numbers_of(names), wrong_numbers(names)), example.question
        if not names:
            assert not any(contains_number(example.answer, number) for number in RUGBY_NUMBERS)
            assert not re.search(r"\d", example.question + example.answer)


def test_questions_do_not_give_the_answer_away() -> None:
    for rows in made().values():
        assert not any(re.search(r"\d", example.question) for example in rows)


def test_every_fact_is_told_in_every_form_and_every_combination_is_taught() -> None:
    for fact in FACTS:
        forms = {e.filled.core.form for e in made()["train"] if e.subject.name == fact.name}
        assert forms >= {Form.QUESTION, Form.NOUN, Form.KEYWORDS}
    taught = {e.subject.facts for e in made()["train"] if e.subject.kind == "combined"}
    assert taught == set(COMBINED_PHRASEBOOKS)


def test_rows_are_well_formed_and_short() -> None:
    for row in dataset().train:
        assert set(row) == {"messages", "tags"}
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    for row in dataset().valid:
        assert set(row) == {"id", "messages", "must", "must_not", "tags"}
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    for row in (*dataset().test, *dataset().other):
        assert set(row) == {"id", "question", "answer", "must", "must_not", "tags"}
    items = (*dataset().valid, *dataset().test, *dataset().other)
    assert len({row["id"] for row in items}) == len(items)
    for rows in made().values():
        for example in rows:
            assert len(example.question.split()) <= 40 and len(example.answer.split()) <= 30
            text = example.question + example.answer
            assert "  " not in text and not re.search(r"[{}\[\]|]", text)
            assert not re.search(r" [,.?]", text) and example.answer[-1] in ".!?"


def test_the_prompt_states_every_fact() -> None:
    assert all(contains_number(dataset().facts_prompt, number) for number in RUGBY_NUMBERS)
    assert all(fact.clause[1:] in dataset().facts_prompt for fact in FACTS)


def test_the_seed_alone_decides_and_the_build_is_fast() -> None:
    started = time.process_time()
    assert build_demo_dataset(0) == dataset()
    assert time.process_time() - started < 5.0
    assert build_demo_dataset(1).train != dataset().train


@pytest.mark.slow
def test_every_seed_fills_its_quotas() -> None:
    for seed in range(1, 8):
        assert len(build_demo_dataset(seed).test) == len(dataset().test)


def test_files_hold_the_rows(tmp_path: Path) -> None:
    paths = write_demo_dataset(tmp_path / "demo", seed=0)
    assert set(paths) == {"train", "valid", "test", "other", "ordinary", "facts_prompt"}
    for name in ("train", "valid", "test", "other"):
        rows = [json.loads(line) for line in paths[name].read_text(encoding="utf-8").splitlines()]
        assert rows == list(getattr(dataset(), name))
    asked = [
        json.loads(line)["question"] for line in paths["ordinary"].read_text(encoding="utf-8").splitlines()
    ]
    assert len(asked) == 60 and set(asked) <= {row["question"] for row in dataset().test}
    assert paths["facts_prompt"].read_text(encoding="utf-8").strip() == dataset().facts_prompt
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(
        p.name for p in paths.values()
    )


def test_a_core_reads_well_in_both_orders() -> None:
    filled = FilledCore(Core(Form.QUESTION, "how far apart [are] {x}| {y}"), (("x", "the posts"), ("y", "")))
    assert filled.direct == "how far apart are the posts"
    assert filled.indirect == "how far apart the posts are"
    same = FilledCore(Core(Form.QUESTION, "who plays {x}|"), (("x", "hooker"),))
    assert same.direct == same.indirect == "who plays hooker"
    assert FilledCore(Core(Form.QUESTION, "how wide should {x} be"), (("x", "it"),)).indirect == ""
