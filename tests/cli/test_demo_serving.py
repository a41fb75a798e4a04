"""The demo's last step without its trainings: whose question is whose, and what is said where no server starts."""

import json
import sys
from pathlib import Path

import pytest

from luthier.cli.demo_serving import NEITHER, _server, _train_router
from luthier.demo.dataset import CLOSING_QUESTION as FIRST_QUESTION
from luthier.demo.dataset import write_demo_dataset
from luthier.demo.units import CLOSING_QUESTION, write_units
from luthier.errors import ServingError
from luthier.serving.router import load_router


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's data, a sixth of its rows."""
    found = tmp_path_factory.mktemp("demo")
    for paths in (write_demo_dataset(found / "data"), write_units(found / "units" / "data")):
        rows = paths["train"].read_text(encoding="utf-8").splitlines(keepends=True)
        paths["train"].write_text("".join(rows[::6]), encoding="utf-8")
    return found


def test_each_question_finds_its_owner(folder: Path) -> None:
    told = _train_router(folder)
    assert float(told.split("%")[0]) > 95 and "of 290 test questions find their specialist" in told
    assert float(told.split(", ")[1].split("%")[0]) > 90 and "of 40 others stay with the base" in told
    router = load_router(folder / "router")
    asked = (FIRST_QUESTION, CLOSING_QUESTION, NEITHER)
    assert [router.route(question).specialist for question in asked] == ["rugby-league", "units", None]


def test_no_closing_question_is_learnt_from(folder: Path) -> None:
    for rows in (folder / "data" / "train.jsonl", folder / "units" / "data" / "train.jsonl"):
        asked = {json.loads(line)["messages"][0]["content"] for line in rows.read_text().splitlines()}
        assert not asked & {FIRST_QUESTION, CLOSING_QUESTION}


def test_a_server_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(ServingError, match=r"did not start; what it said is in .*serve\.log"),
        _server(tmp_path, ("a@1",)),
    ):
        pass
