"""Held out rows stay held out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.sources import Row
from luthier.data.split import hold_out
from luthier.errors import DataError


def _rows(prompts: list[str]) -> list[Row]:
    return [
        Row(Path("f"), n, {"prompt": prompt, "completion": str(n)}) for n, prompt in enumerate(prompts, 1)
    ]


_BASE = [f"question {i}" for i in range(40)]


@given(added=st.lists(st.text(max_size=5), max_size=20))
def test_adding_rows_moves_none_and_prompts_stay_together(added: list[str]) -> None:
    train, held_out = hold_out(_rows(_BASE), 0.3)
    train_more, held_out_more = hold_out(_rows(_BASE + added), 0.3)
    assert train_more[: len(train)] == train and held_out_more[: len(held_out)] == held_out
    prompts = [{row.value["prompt"] for row in side} for side in (train_more, held_out_more)]
    assert not prompts[0] & prompts[1]


def test_conversations_split_by_what_stands_before_the_answer() -> None:
    turns = [
        [{"role": "user", "content": f"q{i % 9}"}, {"role": "assistant", "content": str(i)}]
        for i in range(90)
    ]
    rows = [Row(Path("f"), n, {"messages": messages}) for n, messages in enumerate(turns, 1)]
    train, held_out = hold_out(rows, 0.4)
    asked = [{row.value["messages"][0]["content"] for row in side} for side in (train, held_out)]
    assert not asked[0] & asked[1] and len(train) + len(held_out) == 90


def test_an_empty_side_is_an_error() -> None:
    with pytest.raises(DataError, match="leaves 3 to train on and 0 to validate on"):
        hold_out(_rows(["a"] * 3), 0.0)
