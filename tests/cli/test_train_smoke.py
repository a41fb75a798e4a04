"""`luthier train --smoke` as real runs: rows worth learning, a rate that ruins, answers that follow from nothing."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError
from tests.toy import byte_tokenizer, tiny_model

_WORDS = ("metres", "field", "lazy", "brown", "question", "English")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a tiny untrained model in `model`."""
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained("model")
    torch.manual_seed(0)
    tiny_model(vocab_size=len(tokenizer)).save_pretrained("model")
    return tmp_path


def write_rows(count: int, answers: str) -> None:
    """`follow`: the prompt's word three times; `random`: three words that the prompt does not tell."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        word = rng.choice(_WORDS)
        said = [word] * 3 if answers == "follow" else rng.choices(_WORDS, k=3)
        rows.append({"prompt": f"{number} {word}", "completion": " ".join(said)})
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def smoke(*words: str, model: str = "model") -> tuple[int, Any]:
    asked = ["train", "--data", "rows.jsonl", "--model", model, "--method", "full", "--smoke", "--json"]
    settings = ["data.validation_share=0.2", "train.batch_size=8", "train.seed=1", "train.dtype=float32"]
    result = CliRunner().invoke(app, [*asked, *settings, *words])
    assert result.stdout, (result.output, result.exception)
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.slow
def test_rows_that_can_be_learnt_are_worth_it(workplace: Path) -> None:
    write_rows(160, "follow")
    code, found = smoke(
        "optim.learning_rate=2e-3", "train.epochs=15", "train.max_steps=240", model="luthier-nano"
    )
    assert (code, found["word"]) == (0, "worth it"), found["reasons"]
    assert found["numbers"]["steps"] == 24 and found["numbers"]["full_steps"] == 240
    kept = json.loads((Path(found["run"]) / "smoke.json").read_text())
    assert kept["word"] == "worth it"
    listed = json.loads(CliRunner().invoke(app, ["runs", "list", "--json"]).stdout)
    assert [line["kind"] for line in listed] == ["smoke"]


def test_a_rate_that_is_too_high_is_not(workplace: Path) -> None:
    write_rows(80, "follow")
    code, found = smoke("optim.learning_rate=30", "optim.clip_norm=1000000", "train.max_steps=200")
    assert (code, found["word"]) == (1, "not worth it"), found["reasons"]
    assert any("diverged" in reason or "it rises" in reason for reason in found["reasons"])


def test_answers_that_follow_from_nothing_cannot_be_told(workplace: Path) -> None:
    write_rows(120, "random")
    code, found = smoke("optim.learning_rate=3e-3", "train.max_steps=300")
    assert (code, found["word"]) == (3, "cannot tell"), found["reasons"]
    assert any("makes no difference yet" in reason for reason in found["reasons"])
    assert any("training loss" in reason and "it falls" in reason for reason in found["reasons"])


def test_words_for_a_person_and_what_is_refused(workplace: Path) -> None:
    write_rows(16, "follow")
    asked = ["train", "--data", "rows.jsonl", "--model", "model", "--smoke", "train.max_steps=20"]
    result = CliRunner().invoke(app, asked)
    assert (
        result.exit_code == 3
        and "cannot tell" in result.stdout
        and "nothing usable is held out" in result.stdout
    )
    alone = CliRunner().invoke(app, ["train", "--data", "rows.jsonl", "--model", "model", "--json"])
    assert isinstance(alone.exception, ConfigError) and "give both" in str(alone.exception)
