"""`luthier eval` of a trained model: its base is asked too, with what the run knows, and the cost is said first."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from luthier.cli.main import app
from tests.models.chat_server import chat_server
from tests.toy import byte_tokenizer, tiny_model

PROMPT = "Answer in metres."


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def done(*words: str) -> Result:
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == 0, found.output
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a run of two steps, its specialist with a prompt, and a task of six items."""
    folder = tmp_path_factory.mktemp("beside")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(folder / "base")
    turns = [
        [{"role": "user", "content": f"How long is {n}?"}, {"role": "assistant", "content": f"{n} metres."}]
        for n in range(6)
    ]
    write(folder / "rows.jsonl", [{"messages": one} for one in turns])
    write(
        folder / "items.jsonl", [{"question": f"How long is {n}?", "answer": f"{n} m"} for n in range(8, 14)]
    )
    task = "items: items.jsonl\nname: lengths\ngraders: [exact]\ngeneration: {max_new_tokens: 4}\n"
    (folder / "task.yaml").write_text(task, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done("train", "--data", "rows.jsonl", "--model", "base", "--name", "one", "train.max_steps=2")
        done("specialists", "commit", "runs/one", "--name", "lengths", "--system", PROMPT)
    return folder


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_the_base_is_asked_in_every_way_that_the_run_knows_and_the_cost_comes_first() -> None:
    found = done("eval", "base", "runs/one", "--task", "task.yaml", "--out", "all", "--json")
    base, trained = json.loads(found.stdout)
    assert base["baselines"]["notes"] == [
        "no baselines beside base: its base is not known (luthier eval baselines --base NAME)"
    ]
    beside = trained["baselines"]
    assert [one["label"] for one in beside["results"]] == ["base + zero-shot", "base + 4-shot"]
    assert beside["results"][0]["num_passed"] == base["num_passed"]
    assert (beside["verdict"]["word"], beside["notes"]) == ("not enough evidence", [])
    assert "at most 24 questions: 12 here, 12 to base (zero-shot, 4-shot;" in found.stderr
    shown = done("eval", "runs/one", "--items", "items.jsonl", "--max-new-tokens", "4", "--out", "all").stdout
    assert "base + 4-shot" in shown and "not enough evidence:" in shown


def test_without_baselines_nobody_else_is_asked() -> None:
    found = done("eval", "runs/one", "--task", "task.yaml", "--out", "alone", "--no-baselines", "--json")
    assert "baselines" not in json.loads(found.stdout)[0] and "questions" not in found.stderr
    assert [path.name for path in Path("alone").glob("*.jsonl")] == ["runs-one-lengths.jsonl"]


def test_known_prompts_are_tried_on_the_base_and_what_is_left_out_is_said(place: Path) -> None:
    rows = (place / "rows.jsonl").read_bytes()
    (place / "rows.jsonl").write_bytes(rows + b"\n")
    try:
        words = ["eval", "lengths@1", "--task", "task.yaml", "--out", "prompts", "--json"]
        (entry,) = json.loads(done(*words, "--system", "In metres!").stdout)
    finally:
        (place / "rows.jsonl").write_bytes(rows)
    assert [(one["prompt_variant"], one["system_prompt"]) for one in entry["baselines"]["results"]] == [
        ("zero-shot", None),
        ("system prompt", "In metres!"),
        ("the specialist's prompt", PROMPT),
    ]
    (note,) = entry["baselines"]["notes"]
    assert note.startswith("no few-shot baseline: the training file") and "has changed since" in note


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (["runs/one", "--temperature", "0.5"], "the verdict on them is one of temperature 0"),
        (["URL#served"], "its base is not known (luthier eval baselines --base NAME)"),
    ],
)
def test_where_there_are_no_baselines_a_line_says_why(options: list[str], note: str) -> None:
    with chat_server(lambda _: "8 m") as (url, _):
        words = [word.replace("URL", url) for word in options]
        shown = done("eval", *words, "--task", "task.yaml", "--out", "none").stdout
    assert note in shown and "trained won/lost" not in shown
