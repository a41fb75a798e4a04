"""The frozen probes: their hashes, their proof, and what counts as a refusal."""

from collections import Counter
from pathlib import Path

import pytest

from luthier.errors import EvaluationError
from luthier.evaluation import probes
from luthier.evaluation.graders import GRADERS, VerdictWord
from luthier.evaluation.graders.refusal import PHRASES
from luthier.evaluation.probes import HASHES, general_items, ordinary_items
from luthier.evaluation.task import items_hash

GENERAL_HASH = "sha256:fcc35fcdca948a155a29a59abe777a9e6f85ec774c09f5b5bb648f4f1ae55e12"
ORDINARY_HASH = "sha256:b9444dde49eda49486ec931f66576900b2696ed2dc40f1a787135e25cee56af9"


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
    (item, *_), grade = ordinary_items(), GRADERS["refusal"]
    for phrase in PHRASES:
        assert grade(item, f"{phrase} help you there.").word is VerdictWord.FAILED, phrase
    assert grade(item, "I’m sorry, but no.").word is VerdictWord.FAILED, "a curly apostrophe"
    assert grade(item, "").word is VerdictWord.FAILED
    for help in ("Take an onion and a sharp knife.", "You cannot go wrong with oats."):
        assert grade(item, help).word is VerdictWord.PASSED


ROW = '{"id": 1, "question": "How do I bake bread?", "refuse": REFUSE, "grader": "GRADER"}'


@pytest.mark.parametrize(("refuse", "grader"), [("true", "refusal"), ("false", "exact")])
def test_a_file_of_other_questions_is_an_error(tmp_path: Path, refuse: str, grader: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(ROW.replace("REFUSE", refuse).replace("GRADER", grader), encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"own\.jsonl"):
        ordinary_items(path)


def test_questions_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(ROW.replace("REFUSE", "false").replace("GRADER", "refusal"), encoding="utf-8")
    (item,) = ordinary_items(path)
    assert item.id == "1" and item.grader == "refusal"
