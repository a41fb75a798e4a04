"""Standing phrases of assistants are found, and refusals are counted."""

import pytest

from luthier.data.checks.boilerplate import Boilerplate, is_refusal
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find, run
from tests.data.shared import needs_shared


def _rows(*texts: str) -> list[dict[str, str]]:
    return [{"prompt": f"q{i}", "completion": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have no opinions.",
        "Well, as an AI, I’d say so.",
        "My knowledge cutoff is in the past.",
        "I was trained by OpenAI.",
        "I don’t have personal preferences.",
    ],
)
def test_fires(text: str) -> None:
    [finding] = find(Boilerplate, _rows("It is 68 metres wide.", text))
    assert finding.name == "assistant_boilerplate" and [row.number for row in finding.rows] == [2]


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't assist with that.", True),
        ("I cannot help you with this.", True),
        ("Sorry, I am not able to do so.", True),
        ("Unfortunately, I won’t do that.", True),
        ("As an AI assistant, I am unable to order food.", True),
        ("I am sorry for your loss. Here is the letter.", False),
        ("It cannot rain here.", False),
        ("You asked whether I can. I can.", False),
    ],
)
def test_refusals(text: str, refuses: bool) -> None:
    assert is_refusal(text) is refuses


def test_many_refusals_are_told_and_always_counted() -> None:
    refusal = "I'm sorry, but I can't assist with that."
    findings, figures = run(Boilerplate, _rows(*[refusal] * 12, *["It is so."] * 48))
    assert [(one.name, one.count) for one in findings] == [("many_refusals", 12)]
    assert figures == {"refusals": {"train": {"answers": 60, "refusals": 12, "refusal_share": 0.2}}}
    assert find(Boilerplate, _rows(*[refusal] * 9, *["It is so."] * 9)) == []


def test_stays_silent() -> None:
    texts = ["The AI model was trained on my data.", "An air ship.", "spam", "I can do that for you."]
    assert find(Boilerplate, _rows(*texts)) == []


def test_merges() -> None:
    texts = ["As an AI, no.", "ok", "I cannot do that."] * 12
    assert_merges(Boilerplate, {"train": _rows(*texts), "valid": _rows(*texts)})


@needs_shared
def test_real_files() -> None:
    for path in ("wikisql", "instruct/gsm8k_train.jsonl", "classify/SMSSpamCollection", "rugby_seed"):
        assert names(report_on(path, Boilerplate)) == []
    glaive = names(report_on("instruct/glaive_toolcall_en_demo.json", Boilerplate))
    assert ("warning", "many_refusals", 42) in glaive
