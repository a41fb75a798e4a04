"""The second run of the same files finds its rows; whatever rows follow from makes other ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.config import Layer
from luthier.data.token_store import TokenStore, default_token_store
from luthier.errors import ConfigError
from luthier.training import rows, tokens
from luthier.training.plan import Plan, plan_job
from tests.training.toys import chat_file, model_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "_WORTH_KEEPING", 1)
    model_folder(tmp_path / "base")
    chat_file(tmp_path / "rows.jsonl", 40)
    return tmp_path


def plan(place: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "model": str(place / "base"),
        "data": {"train": str(place / "rows.jsonl"), "validation_share": 0.25},
        "train": {"dtype": "float32", "device": "cpu"},
    }
    return plan_job([Layer("test", values), Layer("changes", changes)])


def test_the_second_plan_reads_no_row_and_is_the_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = plan(place)
    assert first.token_store is not None and "kept in" in first.token_store and "MB" in first.token_store

    def refuse(*given: Any) -> Any:
        raise AssertionError("rows are read")

    monkeypatch.setattr(rows, "read_rows", refuse)
    monkeypatch.setattr("luthier.training.manifest.read_rows", refuse)
    second = plan(place)
    assert second.token_store is not None and "read from" in second.token_store
    for left, right in (
        (first.train_rows, second.train_rows),
        (first.validation_rows, second.validation_rows),
    ):
        assert left is not None and right is not None
        assert np.array_equal(left.token_ids, right.token_ids)
        assert np.array_equal(left.weights, right.weights)
        assert list(left.places) == list(right.places)
    assert second.data_manifest == first.data_manifest
    assert first.data_manifest[0]["rows"] == 40
    [entry] = TokenStore(default_token_store()).entries()
    assert entry.facts["files"] == [str(place / "rows.jsonl")]


def test_files_are_read_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_WORTH_KEEPING", 1 << 60)
    read: list[Any] = []
    right = rows.read_rows
    monkeypatch.setattr(rows, "read_rows", lambda path: read.append(path) or right(path))
    monkeypatch.setattr("luthier.training.manifest.read_rows", lambda path: read.append(path) or right(path))
    assert plan(place).data_manifest[0]["rows"] == 40
    assert len(read) == 1
    assert TokenStore(default_token_store()).entries() == [], "few rows are not worth keeping"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"max_length": 64}},
        {"data": {"validation_share": 0.5}},
        {"model": {"template": "thinking"}},
    ],
)
def test_other_settings_are_other_rows(changes: dict[str, Any], place: Path) -> None:
    plan(place)
    second = plan(place, **changes)
    assert second.token_store is not None and "kept in" in second.token_store


def test_a_changed_file_is_read_again(place: Path) -> None:
    plan(place)
    with (place / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "And now?", "completion": "Now too."}) + "\n")
    changed = plan(place)
    assert changed.token_store is not None and "kept in" in changed.token_store
    assert changed.data_manifest[0]["rows"] == 41


def test_a_changed_program_renders_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(place)
    monkeypatch.setattr(tokens, "_program", lambda: "mended")
    changed = plan(place)
    assert changed.token_store is not None and "kept in" in changed.token_store


def test_what_is_refused_stays_refused(place: Path) -> None:
    plan(place, data={"validation_share": 0.0})
    with pytest.raises(ConfigError, match="nothing is held out"):
        plan(place, data={"validation_share": 0.0}, evaluation={"patience": 2})


def test_a_store_that_cannot_be_written_is_said_and_no_error(place: Path) -> None:
    (place / "cache").write_text("a file where the folder should be")
    made = plan(place)
    assert made.token_store is not None and "not kept in" in made.token_store
    assert made.data_manifest[0]["rows"] == 40
