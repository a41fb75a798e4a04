"""`luthier runs` on real runs of a tiny model: what each keeps of how it was made, and how two differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import LuthierError
from luthier.registry.environment import environment
from luthier.registry.runs import Run
from tests.toy import byte_tokenizer, tiny_model


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a committed data set and two finished runs on it, in a folder that tests only read."""
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("LUTHIER_DATASETS", raising=False)
        tokenizer = byte_tokenizer()
        tokenizer.save_pretrained("model")
        torch.manual_seed(0)
        tiny_model(vocab_size=len(tokenizer)).save_pretrained("model")
        rows = [{"prompt": f"How long is {n}?", "completion": f"{n} metres."} for n in range(12)]
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        said(folder, "data", "commit", "rows.jsonl", "--name", "lengths")
        for name, seed in (("first", 7), ("second", 8)):
            said(
                folder, "train", "--data", "dataset:lengths", "--model", "model", "--name", name,
                "data.validation_share=0.25", "train.max_steps=3", "train.batch_size=4", "data.max_length=64",
                f"train.seed={seed}",
            )  # fmt: skip
    return folder


def said(folder: Path, *words: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def said_json(folder: Path, *words: str) -> Any:
    return json.loads(said(folder, *words, "--json"))


def test_a_run_keeps_how_it_was_made(workplace: Path) -> None:
    run = Run(workplace / "runs/first")
    recipe = json.loads(run.resolved_path.read_text())["values"]
    assert recipe["train"]["seed"] == 7 and recipe["method"]["name"] == "lora"
    assert "seed: 7" in run.recipe_path.read_text()
    (entry, *_) = json.loads(run.data_path.read_text())
    (version,) = said_json(workplace, "data", "log", "lengths")["versions"]
    assert entry["dataset"].startswith("lengths") and entry["sha256"]
    assert version["id"] == entry["dataset_id"]
    kept = json.loads(run.environment_path.read_text())
    here = environment()
    assert kept["python"] == here["python"] and kept["versions"]["torch"] == here["versions"]["torch"]
    assert kept["git"]["revision"]


def test_list_and_its_conditions(workplace: Path) -> None:
    table = said(workplace, "runs", "list")
    assert "runs/first" in table and "runs/second" in table and "lengths" in table
    lines = said_json(workplace, "runs", "list", "--where", "seed=8", "--where", "status=finished")
    assert [line["name"] for line in lines] == ["second"] and lines[0]["best_validation_loss"] > 0
    assert said_json(workplace, "runs", "list", "--where", "method=dora") == []
    wrong = CliRunner().invoke(
        app, ["runs", "list", "--folder", str(workplace / "runs"), "--where", "colour=red"]
    )
    assert isinstance(wrong.exception, LuthierError) and "expected KEY=VALUE" in str(wrong.exception)


def test_the_list_needs_no_database(workplace: Path) -> None:
    before = said_json(workplace, "runs", "list")
    (workplace / "runs/runs.db").write_bytes(b"this was a database once, and is long enough to be read" * 50)
    assert said_json(workplace, "runs", "list") == before


def test_show_names_recipe_data_revision_environment_and_seed(workplace: Path) -> None:
    text = said(workplace, "runs", "show", "runs/first")
    for word in (
        "recipe.train.seed: 7",
        "environment.python:",
        "git_revision:",
        "dataset: lengths",
        "steps: 3",
    ):
        assert word in text, word
    line = said_json(workplace, "runs", "show", "runs/first")
    assert line["peak_memory_bytes"] > 0 and line["recipe"]["train"]["seed"] == line["seed"] == 7


def test_compare_says_what_differs_and_which_is_best(workplace: Path) -> None:
    found = said_json(workplace, "runs", "compare", "runs/first", "runs/second")
    assert found["recipe_differences"] == {"train.seed": [7, 8]}
    losses = {one["folder"]: one["best_validation_loss"] for one in found["runs"]}
    assert found["best"] == min(losses, key=lambda name: losses[name])
    table = said(workplace, "runs", "compare", "runs/first", "runs/second")
    assert "recipe: train.seed" in table and "lowest validation loss" in table
    alone = CliRunner().invoke(app, ["runs", "compare", str(workplace / "runs/first")])
    assert isinstance(alone.exception, LuthierError) and "two runs or more" in str(alone.exception)


def test_a_finished_run_leaves_its_forecast_beside_what_came(workplace: Path) -> None:
    made = json.loads((workplace / "runs/first/forecast.json").read_text())
    lines = [json.loads(line) for line in (workplace / "runs/forecasts.jsonl").read_text().splitlines()]
    assert [line["run"] for line in lines] == ["first", "second"]
    assert lines[0]["forecast_memory_bytes"] == made["memory"]["total"] and lines[0]["memory_bytes"] > 0
    text = said(workplace, "plan", "--model", "model", "--device", "t4", "--method", "lora")
    assert "the last 2 forecasts were off by" in text
