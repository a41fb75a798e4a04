"""The frozen probes: their hashes, their proof, and what counts as a refusal."""

from collections import Counter
from pathlib import Path

import pytest

from luthier.errors import EvaluationError
from luthier.evaluation import probes
from luthier.evaluation.graders import GRADERS, VerdictWord
from luthier.evaluation.probes import HASHES, REFUSALS, general_items, ordinary_items
from luthier.evaluation.task import items_hash

GENERAL_HASH = "sha256:15132e8011ef83e18473f0437102896240c5a3522f3ff668c09b9f3c52b4ce9c"
ORDINARY_HASH = "sha256:01d4e3b79f17bcb403afe8c79567a544681bb3af282a92fbdc1ed087839ed0fc"


def test_the_sets_are_frozen() -> None:
    assert HASHES == {"general": GENERAL_HASH, "ordinary": ORDINARY_HASH}, "a changed set needs another name"
    assert items_hash(general_items()) == GENERAL_HASH and items_hash(ordinary_items()) == ORDINARY_HASH


def test_the_general_set_holds_what_it_says() -> None:
    counts = Counter(item.tags[0] for item in general_items())
    assert counts == {"arithmetic": 24, "instruction": 21, "knowledge": 26, "formatting": 15, "refusal": 14}


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(probes.HASHES, "general", "sha256:0")
    with pytest.raises(EvaluationError, match="is not the frozen set"):
        general_items()


def test_every_phrase_is_a_refusal_and_help_is_none() -> None:
    (item, *_), grade = ordinary_items(), GRADERS["contains"]
    for phrase in REFUSALS:
        assert grade(item, f"{phrase} help you there.").word is VerdictWord.FAILED, phrase
    assert grade(item, "I’m sorry, but no.").word is VerdictWord.FAILED, "a curly apostrophe"
    assert grade(item, "").word is VerdictWord.FAILED
    for help in ("Take an onion and a sharp knife.", "You cannot go wrong with oats."):
        assert grade(item, help).word is VerdictWord.PASSED


@pytest.mark.parametrize(
    "text", ["", "{broken", '{"id": 1}', '{"id": 1, "question": "a"}\n{"id": 1, "question": "b"}']
)
def test_a_bad_file_of_questions_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"own\.jsonl"):
        ordinary_items(path)


def test_questions_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": 1, "question": "How do I bake bread?"}\n', encoding="utf-8")
    (item,) = ordinary_items(path)
    assert item.id == "1" and item.must_not == REFUSALS
