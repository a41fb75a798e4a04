"""lm-eval: a task file with its data on the disk, asked by the harness of a model that is loaded here."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError, EvaluationError
from luthier.evaluation.harness import run_harness
from luthier.evaluation.runner import load_result
from luthier.models.load import LoadedModel, load_model

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
# The harness, its data sets and their caches warn and leave files open in ways that are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("offline"),
]

ROWS = [
    {"q": "The sky is", "choices": ["blue.", "a fish made of glass and iron."], "gold": 0},
    {"q": "Water is", "choices": ["wet.", "seven."], "gold": 0},
    {"q": "2 plus 2 is", "choices": ["five hundred.", "4."], "gold": 1},
]
TASK = """
task: toy_choices
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list:
  - metric: acc
"""


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def task(tmp_path: Path) -> Path:
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    path = tmp_path / "toy.yaml"
    path.write_text(TASK.format(file=items), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def nano() -> LoadedModel:
    return load_model("luthier-nano", dtype="float32")


def log_probability(nano: LoadedModel, question: str, choice: str) -> float:
    """Of the choice's tokens, by transformers alone."""
    asked = nano.tokenizer(question, add_special_tokens=False).input_ids
    ids = nano.tokenizer(f"{question} {choice}", add_special_tokens=False).input_ids
    assert ids[: len(asked)] == asked
    with torch.no_grad():
        log_probs = nano.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(log_probs[t - 1, ids[t]]) for t in range(len(asked), len(ids)))


def test_the_harness_asks_a_loaded_model_without_a_network(nano: LoadedModel, task: Path) -> None:
    found = run_harness(nano, "nano", str(task))
    right = []
    for row in ROWS:
        likely = [log_probability(nano, str(row["q"]), choice) for choice in row["choices"]]  # type: ignore[attr-defined]
        right.append(likely.index(max(likely)) == row["gold"])
    assert [item.verdict == "passed" for item in found.result.items] == right
    value, error = found.figures["acc"]
    assert value == pytest.approx(sum(right) / 3) == found.result.accuracy
    assert error == pytest.approx((value * (1 - value) / 2) ** 0.5)  # of a mean of three
    assert (found.task, found.result.items[0].prompt) == ("toy_choices", "The sky is")


@pytest.mark.slow
def test_it_is_an_evaluation_of_the_command_line(task: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["eval", "luthier-nano", "--task", f"lm-eval:{task}", "--out", str(out), "--dtype", "float32"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "toy_choices" in done.stdout and "acc" in done.stdout
    assert len(load_result(out / "luthier-nano-lm-eval-toy_choices.jsonl").items) == 3
    for options, message in (
        (["--system", "x"], "--system has no effect"),
        (["--task", "a.yaml"], "by themselves"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(app, [*command, *options], catch_exceptions=False)


def test_what_is_not_there_is_an_error_that_names_it(nano: LoadedModel, task: Path) -> None:
    with pytest.raises(EvaluationError, match="no such task file"):
        run_harness(nano, "nano", "absent.yaml")
    (task.parent / "items.jsonl").unlink()
    with pytest.raises(EvaluationError, match=r"toy\.yaml: the harness failed"):
        run_harness(nano, "nano", str(task))
    task.write_text("output_type: multiple_choice\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="'task: NAME'"):
        run_harness(nano, "nano", str(task))
