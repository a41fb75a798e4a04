"""`luthier data commit`, `log`, `diff`, `verify`, and runs that name the version they used."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.cli.main import main
from luthier.registry.datasets import Store, dataset_id
from tests.toy import byte_tokenizer, tiny_model


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with rows to train on and to validate with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUTHIER_DATASETS", raising=False)
    write(tmp_path / "train.jsonl", "width", "length", "height")
    write(tmp_path / "valid.jsonl", "weight")
    return tmp_path


def write(path: Path, *words: str, answer: str = "The {} is known.") -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is the {word}?"},
                {"role": "assistant", "content": answer.format(word)},
            ]
        }
        for word in words
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def data(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def data_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(data(*arguments, "--json", code=code))


def luthier(*arguments: str) -> int:
    """Run the whole command; its exit code."""
    sys.argv = ["luthier", *arguments]
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


COMMIT = ("commit", "train.jsonl", "--valid", "valid.jsonl", "--name", "rugby")


def test_commit_log_and_the_card(workplace: Path) -> None:
    first = data_json(*COMMIT, "-m", "first")
    assert first["new"] is True and first["rows"] == {"train": 3, "valid": 1} and first["parents"] == []
    assert Path(first["folder"]) == Path("datasets/rugby") / first["short_id"]
    assert data_json(*COMMIT)["new"] is False
    assert "is there already" in data(*COMMIT)
    write(workplace / "train.jsonl", "width", "length")
    said = data(*COMMIT, "-m", "fewer")
    second = Store(Path("datasets")).find("rugby")
    assert f"committed {second.ref}: 2 train, 1 valid rows" in said
    assert f"luthier train --data dataset:{second.ref} --valid dataset:{second.ref}" in said
    logged = data_json("log", "rugby")
    assert [one["message"] for one in logged["versions"]] == ["fewer", "first"]
    assert logged["versions"][0]["parents"] == [first["id"]] and logged["damaged"] == []
    text = data("log")
    assert text.index("fewer") < text.index("first") and f"parent: {first['short_id']}" in text
    assert data_json("log", "--store", "elsewhere") == {"versions": [], "damaged": []}


def test_what_is_not_there_is_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no dataset in datasets" in data("log")
    assert luthier("data", "log", "chess") == 2
    assert "no dataset is called 'chess'" in " ".join(capsys.readouterr().err.split())
    assert luthier("data", *COMMIT[:-1], "Not A Name") == 2
    assert "dataset name" in capsys.readouterr().err
    assert luthier("data", "commit", "gone.jsonl", "--name", "rugby") == 2
    assert "no such data file: gone.jsonl" in capsys.readouterr().err
    assert luthier("data", "commit", "--name", "rugby") == 2
    assert "nothing to commit" in capsys.readouterr().err
    assert not Path("datasets").exists()


def test_a_set_with_errors_needs_a_word(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(workplace / "valid.jsonl", "width")
    assert luthier("data", *COMMIT) == 2
    assert "valid_rows_in_train" in capsys.readouterr().err
    assert not Path("datasets").exists()
    assert data_json(*COMMIT, "--allow-errors")["check"] == "errors"


def test_diff_of_versions_and_files(workplace: Path) -> None:
    data(*COMMIT)
    write(workplace / "train.jsonl", "width", "weight", "depth")
    write(workplace / "valid.jsonl", "length", "height", answer="Nobody knows the {}.")
    data(*COMMIT, "--allow-errors")
    found = data_json("diff", "rugby@latest~1", "rugby")
    assert found["same"] is False
    assert found["moved"] == [{"from": "valid", "to": "train", "rows": 1}]
    train, valid = found["splits"]["train"], found["splits"]["valid"]
    assert (train["kept"], train["added"], train["removed"], valid["added"]) == (1, 1, 2, 2)
    text = data("diff", "rugby@latest~1", "rugby", "--exit-code", code=1)
    assert "moved from valid to train: 1" in text and "+ train: What is the depth?" in text
    assert "The same rows" in data("diff", "rugby/train", "train.jsonl", "--exit-code")
    assert data_json("diff", "rugby/train", "train.jsonl")["same"] is True
    assert data_json("diff", "rugby@latest~1", "rugby", "--examples", "0")["examples"]["added"] == []


def test_verify_names_what_changed(workplace: Path) -> None:
    data(*COMMIT)
    version = Store(Path("datasets")).find("rugby")
    assert data_json("verify")["whole"] is True
    path = version.splits["train"][0].path
    path.write_text(path.read_text().replace("known", "secret"))
    found = data_json("verify", f"rugby@{version.short_id}", code=2)
    assert found["whole"] is False and str(path) in found["problems"][0]
    assert "damaged" in data("verify", "rugby", code=2)
    (version.folder / "manifest.json").unlink()
    assert data_json("verify", code=2)["versions"] == []
    assert len(data_json("log")["damaged"]) == 1


@pytest.fixture
def model(workplace: Path) -> str:
    tokenizer = byte_tokenizer("chatml")
    tiny_model("llama", len(tokenizer)).save_pretrained(workplace / "model")
    tokenizer.save_pretrained(workplace / "model")
    return "model"


def train(*arguments: str) -> int:
    return luthier("train", "--model", "model", "--method", "full", "train.max_steps=1", *arguments)


def test_a_run_names_the_version_that_it_used(
    workplace: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data(*COMMIT)
    version = Store(Path("datasets")).find("rugby")
    assert train("--data", "dataset:rugby", "--valid", "dataset:rugby") == 0
    assert f"data: {version.ref}, id {version.id}" in " ".join(capsys.readouterr().out.split())
    (run,) = (path for path in Path("runs").iterdir() if path.is_dir())
    assert run.name == "rugby-001"
    entries = json.loads((run / "data.json").read_text())
    assert [(one["role"], one["dataset"], one["dataset_id"]) for one in entries] == [
        ("train", version.ref, version.id),
        ("validation", version.ref, version.id),
    ]
    assert [one["path"] for one in entries] == [
        str(version.folder / "train" / "train.jsonl"),
        str(version.folder / "valid" / "valid.jsonl"),
    ]
    assert f"dataset:{version.ref}" in (run / "recipe.yaml").read_text(), "latest is another version tomorrow"
    assert version.ref in (run / "report.html").read_text()
    assert luthier("runs", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["datasets"] == [version.ref]
    assert data_json("log")["versions"][0]["runs"] == ["rugby-001"]
    assert "runs: rugby-001" in data("log")


def test_a_run_on_plain_files_has_the_same_id(workplace: Path, model: str) -> None:
    assert train("--data", "train.jsonl", "--valid", "valid.jsonl", "--name", "before") == 0
    data(*COMMIT)
    assert train("--data", "train.jsonl", "--name", "after") == 0
    version = Store(Path("datasets")).find("rugby")
    before, after = (json.loads(Path("runs", name, "data.json").read_text()) for name in ("before", "after"))
    assert {one["dataset_id"] for one in before} == {version.id} and "dataset" not in before[0]
    assert after[0]["dataset"] == version.ref, "the store knows these bytes"
    assert after[0]["dataset_id"] == dataset_id({"train": version.hashes()["train"]}), "only what was read"


def test_resuming_keeps_to_the_version_of_the_beginning(
    workplace: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data(*COMMIT)
    assert train("--data", "dataset:rugby", "--name", "mine") == 0
    status = json.loads(Path("runs/mine/status.json").read_text())
    Path("runs/mine/status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    write(workplace / "train.jsonl", "depth")
    data(*COMMIT)
    assert len(Store(Path("datasets")).versions("rugby")) == 2
    assert luthier("train", "--resume", "runs/mine") == 0, capsys.readouterr().err


def test_training_refuses_a_damaged_version(
    workplace: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data(*COMMIT)
    path = Store(Path("datasets")).find("rugby").splits["train"][0].path
    path.write_text(path.read_text().replace("known", "secret"))
    assert train("--data", "dataset:rugby") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"train/train.jsonl: changed since it was committed", said)
    assert not Path("runs").exists()
    assert train("--data", "dataset:chess") == 2
    assert "no dataset is called 'chess'" in capsys.readouterr().err
