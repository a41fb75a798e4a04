"""Real files that no one here wrote: what is known of them is what is read."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.data.checks.images import problem_of, resolve
from luthier.data.example import Example
from luthier.data.formats import FORMATS, read_example, recognise_file
from luthier.data.sources import read_rows
from tests.data.formats.examples import content
from tests.data.shared import SHARED, needs_shared

pytestmark = needs_shared


def _examples(path: Path) -> Iterator[tuple[str, Example]]:
    file_format = recognise_file(row.value for row in read_rows(path))
    for row in read_rows(path):
        yield read_example(row.value, where=row.where, format=file_format.of(row.value))


@pytest.mark.parametrize(
    ("path", "name", "rows"),
    [
        ("instruct/identity.json", "alpaca", 91),
        ("instruct/alpaca_en_demo.json", "alpaca", 999),
        ("instruct/glaive_toolcall_en_demo.json", "sharegpt", 300),
        ("instruct/reason_tool_use_demo_50.jsonl", "messages", 50),
        ("instruct/gsm8k_train.jsonl", "question/answer", 7473),
        ("preference/dpo_en_demo.json", "sharegpt-preference", 299),
        ("preference/v1_dpo_demo.jsonl", "preference-messages", 10),
        ("preference/kto_en_demo.json", "kto", 300),
        ("classify/SMSSpamCollection", "classification", 5574),
        ("classify/banking77_train.csv", "classification", 10003),
        ("extract/train_GetWeather.json", "spans", 300),
        ("extract/train_SearchScreeningEvent.json", "spans", 300),
        ("extract/emerging.dev.conll", "tags", 1009),
        ("multimodal/mllm_demo.json", "messages", 6),
        ("probes/mmlu_dev", "multiple-choice", 285),
        ("rugby_seed/train.jsonl", "messages", 1000),
        ("wikisql/train.jsonl", "text", 1000),
    ],
)
def test_every_row_is_read_and_comes_back(path: str, name: str, rows: int) -> None:
    """In its own format nothing is lost, whatever the row; and what is written is read as the same."""
    target = FORMATS[name]
    found = Counter()
    for format, example in _examples(SHARED / path):
        found[format] += 1
        assert not target.loses(example)
        assert content(target.read(target.write(example))) == content(example)
    assert found == {name: rows}


def test_alpaca_with_input() -> None:
    examples = [one for _, one in _examples(SHARED / "instruct/alpaca_en_demo.json")]
    assert sum(one.context is not None for one in examples) == 412
    assert sum(bool(FORMATS["alpaca"].write(one)["input"]) for one in examples) == 412


def test_every_call_of_a_tool_is_valid() -> None:
    examples = [one for _, one in _examples(SHARED / "instruct/glaive_toolcall_en_demo.json")]
    assert sum(bool(m.tool_calls) for one in examples for m in one.messages) == 211
    raw = json.loads((SHARED / "instruct/glaive_toolcall_en_demo.json").read_text(encoding="utf-8"))
    plain = [len(row["conversations"]) == 2 and row["tools"] in ("", "[]") for row in raw]
    assert [not FORMATS["prompt/completion"].loses(one) for one in examples] == plain


def test_reasoning_and_calls_in_parts() -> None:
    turns = [
        m for _, one in _examples(SHARED / "instruct/reason_tool_use_demo_50.jsonl") for m in one.messages
    ]
    assert sum(m.reasoning is not None for m in turns) == 112
    assert sum(len(m.tool_calls) for m in turns) == 41 + 9 * 2 + 3 * 3
    offered = [
        bool(one.conversation.tools)
        for _, one in _examples(SHARED / "instruct/reason_tool_use_demo_50.jsonl")
    ]
    lines = (SHARED / "instruct/reason_tool_use_demo_50.jsonl").read_text(encoding="utf-8").splitlines()
    assert offered == [bool(json.loads(json.loads(line)["tools"])) for line in lines] and sum(offered) > 40


def test_preferences() -> None:
    examples = [one for _, one in _examples(SHARED / "preference/dpo_en_demo.json")]
    longer = sum(len(one.chosen[0].content) > len(one.rejected[0].content) for one in examples)
    assert longer == 130 and not any(one.chosen == one.rejected for one in examples)


def test_labels() -> None:
    thumbs = Counter(one.desirable for _, one in _examples(SHARED / "preference/kto_en_demo.json"))
    assert thumbs == {True: 150, False: 150}
    sms = Counter(one.label for _, one in _examples(SHARED / "classify/SMSSpamCollection"))
    assert sms == {"ham": 4827, "spam": 747}
    assert len({one.label for _, one in _examples(SHARED / "classify/banking77_train.csv")}) == 77
    letters = Counter(one.label for _, one in _examples(SHARED / "probes/mmlu_dev"))
    assert set(letters) == set("ABCD") and letters.total() == 285


def test_pictures() -> None:
    examples = [one for _, one in _examples(SHARED / "multimodal/mllm_demo.json")]
    assert len({path for one in examples for path in one.images}) == 3
    for one in examples:
        assert all(problem_of(resolve(path, str(SHARED / "multimodal"))) is None for path in one.images)
        assert all(problem_of(resolve(path, str(SHARED))) == "no such file" for path in one.images)
