"""The generated conversations: well formed, true to their text, repeatable, silent on the demo."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

BASE = Path(__file__).resolve().parents[2] / "recipes" / "base"
COUNT = 1500


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("base_conversations", BASE / "conversations.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["base_conversations"] = module
    spec.loader.exec_module(module)
    return module


script = _script()


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return script.generated_conversations(3, COUNT)


def test_there_are_as_many_different_rows_as_asked_for(rows: list[dict]) -> None:
    assert len({json.dumps(row["messages"]) for row in rows}) == COUNT


def test_roles_alternate_and_nothing_is_empty(rows: list[dict]) -> None:
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        body = roles[1:] if roles[0] == "system" else roles
        assert body and body == ["user", "assistant"] * (len(body) // 2)
        assert all(message["content"].strip() for message in row["messages"])


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(rows: list[dict]) -> None:
    assert script.generated_conversations(3, COUNT) == rows
    assert script.generated_conversations(4, 50) != rows[:50]


def test_the_demonstration_field_is_never_mentioned(rows: list[dict]) -> None:
    text = json.dumps(rows).lower()
    assert not re.search(r"rugby|try line|in-goal|crossbar|goal post", text)


def test_no_pattern_mark_is_left_in_the_text(rows: list[dict]) -> None:
    for row in rows:
        for message in row["messages"]:
            assert not re.search(
                r"[{}\[\]|\x00\x01]|\?\.|\.\.(?!\.)|  ", message["content"].replace("...", "")
            ), row


def test_the_text_is_ascii(rows: list[dict]) -> None:
    for row in rows:
        assert all(message["content"].isascii() for message in row["messages"])


def test_reading_answers_stand_in_their_text_or_say_that_they_do_not() -> None:
    from chat_sources import reading

    rng = Random(0)
    unsaid = 0
    for _ in range(800):
        task = reading.compose(rng)
        answers = [m["content"] for m in task.messages if m["role"] == "assistant"]
        first = next(at for at, m in enumerate(task.messages) if m["role"] == "assistant")
        text = "\n".join(m["content"] for m in task.messages[:first]).lower()
        assert len(answers) == len(task.evidence)
        for answer, values in zip(answers, task.evidence, strict=True):
            unsaid += not values
            assert values or any(mark in answer.lower() for mark in reading.UNSAID_MARKS)
            for value in values:
                assert value.lower() in text
                assert value.lower() in answer.lower()
    assert 40 < unsaid < 400


def test_fields_and_courts_never_carry_the_demonstrations_measures() -> None:
    from chat_sources.reading_domains import DOMAINS
    from chat_sources.reading_facts import RESERVED_FIELD_NUMBERS

    court = next(domain for domain in DOMAINS if domain.kind == "court")
    rng = Random(1)
    for attribute in court.attributes:
        for _ in range(200):
            value = attribute.value(rng)
            if value.endswith(" metres"):
                numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", value)}
                assert not numbers & (RESERVED_FIELD_NUMBERS | {5.5}), value


def test_openings_of_questions_are_many(rows: list[dict]) -> None:
    openings = {
        " ".join(m["content"].lower().split()[:5])
        for row in rows
        for m in row["messages"]
        if m["role"] == "user"
    }
    assert len(openings) > COUNT * 0.8


@pytest.mark.slow
def test_training_and_validation_share_no_conversation(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    lines = [
        json.dumps(
            {
                "text": f"User: What is {n} apples?\nAssistant: They are {n} fruits.",
                "source": "a/Taskmaster@1:TM-4/x",
            }
        )
        for n in range(30)
    ]
    (tmp_path / "part-000.jsonl.zst").write_bytes(zstandard.compress("\n".join(lines).encode()))
    train, valid = script.conversations(tmp_path, 0)
    assert len(valid) == script.NUM_VALID
    assert not {json.dumps(r["messages"]) for r in train} & {json.dumps(r["messages"]) for r in valid}
    assert any(row["source"] == "corpus/taskmaster-coffee" for row in train)
