"""System prompts are counted; near-identical ones, missing ones and others than the shipped one are found."""

from typing import Any

import pytest

from luthier.data.checks import system_prompts
from luthier.data.checks.system_prompts import SystemPrompts, is_one_edit_apart
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find, run
from tests.data.shared import needs_shared


def _rows(*prompts: str | None) -> list[dict[str, Any]]:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    return [
        {"messages": [*([{"role": "system", "content": prompt}] if prompt else []), *turns]}
        for prompt in prompts
    ]


@pytest.mark.parametrize(
    "variant",
    [
        "You are  kind and short.",
        "you are kind and short.",
        "You are kind and short",
        "You are kind and shorts.",
    ],
)
def test_variants(variant: str) -> None:
    [finding] = find(SystemPrompts, _rows(*["You are kind and short."] * 3, variant))
    assert finding.name == "system_prompt_variants" and [row.number for row in finding.rows] == [4]
    assert finding.examples is not None and "3 rows" in finding.examples[0]


def test_stays_silent() -> None:
    assert find(SystemPrompts, _rows(*["You are kind."] * 4)) == []
    assert find(SystemPrompts, _rows(*[None] * 4)) == []
    assert (
        find(
            SystemPrompts, _rows("You are kind.", "Answer as a pirate.", "Today is day 3.", "Today is day 4.")
        )
        == []
    )
    assert find(SystemPrompts, _rows(None, None, None, "You are kind.")) == []
    assert find(SystemPrompts, [{"text": "a"}, {"text": "b"}]) == []


def test_long_prompts_that_differ_only_late_are_not_variants() -> None:
    assert find(SystemPrompts, _rows("word " * 900 + "one thing", "word " * 900 + "another matter")) == []


def test_rows_without() -> None:
    [finding] = find(SystemPrompts, _rows("You are kind.", "You are kind.", None, "You are kind."))
    assert finding.name == "rows_without_system_prompt" and [row.number for row in finding.rows] == [3]


def test_the_shipped_one_byte_for_byte() -> None:
    rows = _rows("You are kind.", "You are kind. ", "Be brief.")
    found = {
        one.name: [row.number for row in one.rows]
        for one in find(SystemPrompts, rows, system_prompt="You are kind.")
    }
    assert found == {"system_prompt_variants": [2], "system_prompt_differs": [2, 3]}
    assert find(SystemPrompts, rows[:1], system_prompt="You are kind.") == []


def test_figures() -> None:
    _, figures = run(SystemPrompts, _rows("Write to me@home.org.", "Write to me@home.org.", "Other.", None))
    assert figures["system_prompts"]["train"] == {
        "distinct": 2,
        "distinct_is_exact": True,
        "rows_without": 1,
        "most_common": "Write to me***@***.org.",
        "most_common_rows": 2,
        "most_common_share": 0.5,
    }


def test_one_edit() -> None:
    assert (
        is_one_edit_apart("abc", "abd")
        and is_one_edit_apart("abc", "abcd")
        and is_one_edit_apart("abc", "xabc")
    )
    assert not is_one_edit_apart("abc", "abc") and not is_one_edit_apart("abc", "acb")
    assert not is_one_edit_apart("day 3", "day 4") and not is_one_edit_apart("a", "abc")


def test_merges_also_beyond_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows(
        *["You are kind.", "you are kind", None, "Be brief."] * 5,
        *[f"Prompt of person {i}" for i in range(40)],
    )
    assert_merges(SystemPrompts, {"train": rows, "valid": rows[::3]}, system_prompt="You are kind.")
    monkeypatch.setattr(system_prompts, "MAX_PROMPTS", 10)
    assert run(SystemPrompts, rows)[1]["system_prompts"]["train"]["distinct_is_exact"] is False
    assert_merges(SystemPrompts, rows)


@needs_shared
def test_real_files() -> None:
    for path in ("wikisql", "instruct/gsm8k_train.jsonl", "instruct/alpaca_en_demo.json", "rugby_seed"):
        assert names(report_on(path, SystemPrompts)) == []
