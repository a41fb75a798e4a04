"""What belongs together: by question, by likeness, by a field; and names that later rows do not change."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.groups import Grouping, Groups
from tests.data.checks.test_near_duplicates import sentences, with_words_changed
from tests.data.checks.toys import rows_of


def groups_of(values: Sequence[Mapping[str, Any]], family: str | None = None, **options: bool) -> Groups:
    with tempfile.TemporaryDirectory() as scratch:
        grouping = Grouping(Path(scratch), **options)
        for row, value in zip(rows_of(values), values, strict=True):
            grouping.see(row, value.get(family) if family else None)
        return grouping.groups()


def ask(question: str, answer: str = "yes", **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


def test_the_same_question_whatever_the_answer() -> None:
    found = groups_of([ask("How wide?"), ask("How long?"), ask("how  WIDE?", "68 m"), ask("How long?")])
    assert found.first.tolist() == [0, 1, 0, 1]
    assert found.names[0] == found.names[2] != found.names[1]


def test_near_duplicates_join_and_what_is_joined_to_both_joins_both() -> None:
    text = sentences(1, 40)[0]
    near = with_words_changed(text, 3, 1)
    nearer = with_words_changed(near, 3, 2)
    values = [ask(text), ask("something else"), ask(nearer), ask(near)]
    assert groups_of(values).first.tolist() == [0, 1, 0, 0]
    assert groups_of(values, near_duplicates=False).first.tolist() == [0, 1, 2, 3]


def test_the_value_of_a_field() -> None:
    values = [
        ask("a b c", doc=1),
        ask("d e f"),
        ask("g h i", doc=1),
        ask("d e f", doc="other"),
        ask("x y", doc="other"),
    ]
    assert groups_of(values, "doc").first.tolist() == [0, 1, 0, 1, 1]


def test_a_template_joins_nothing() -> None:
    template = "Decide whether this review is friendly or not and say so in a single word please: " * 3
    found = groups_of([ask(template + text) for text in sentences(300, 12)])
    assert len(np.unique(found.first)) == 300


def test_rows_of_no_known_format_are_grouped_by_what_they_hold() -> None:
    assert groups_of([{"a": 1}, {"a": 2}, {"a": 1}]).first.tolist() == [0, 1, 0]
    assert len(groups_of([]).first) == 0


_questions = st.lists(
    st.sampled_from([f"question {i} about {'abcdefgh'[i % 8] * 3}" for i in range(30)]), max_size=30
)


@given(base=_questions, added=_questions)
@settings(max_examples=30, deadline=None)
def test_rows_that_are_added_rename_no_group(base: list[str], added: list[str]) -> None:
    before = groups_of([ask(q) for q in base], near_duplicates=False)
    after = groups_of([ask(q) for q in base + added], near_duplicates=False)
    assert after.first[: len(base)].tolist() == before.first.tolist()
    assert after.names[: len(base)].tolist() == before.names.tolist()


def test_near_duplicates_that_are_added_rename_no_group() -> None:
    texts = sentences(400, 30)
    base = [ask(with_words_changed(texts[i % 200], i % 2, i)) for i in range(300)]
    added = [ask(with_words_changed(texts[i], 1, 1000 + i)) for i in range(0, 400, 3)]
    before, after = groups_of(base), groups_of(base + added)
    assert len(np.unique(before.first)) == 200
    assert after.first[:300].tolist() == before.first.tolist()
    assert after.names[:300].tolist() == before.names.tolist()
