"""`luthier specialists`, on a real run of a tiny model."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import RegistryError, RunError, ServingError
from luthier.models.load import load_model
from luthier.registry.runs import create_run
from luthier.registry.specialist import NamedKnowledge
from luthier.registry.specialists import SpecialistStore
from tests.toy import byte_tokenizer, tiny_model

PROMPT = "Answer in metres.\n"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: str) -> Path:
    """A folder with a finished run of two steps and its rows."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [
        {
            "messages": [
                {"role": "system", "content": PROMPT},
                {"role": "user", "content": f"How long is {number}?"},
                {"role": "assistant", "content": f"{number} metres."},
            ]
        }
        for number in range(8)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = ["train", "--data", "rows.jsonl", "--model", model_folder, "--name", "first", "train.max_steps=2"]
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> Path:
    """The finished run, in a working folder of the test's own."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    return Path("runs/first")


def say(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["specialists", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_rows_that_are_gone_are_told_because_the_prompt_goes_with_them(run: Path) -> None:
    Path("rows.jsonl").unlink()
    told = say("commit", str(run), "--name", "lengths")
    assert "no system prompt that they share" in told and "rows.jsonl" in told
    assert "prompt       none" in say("show", "lengths")
    exported = CliRunner().invoke(app, ["export", str(run), "--to", "hf", "--out", "out", "--dry-run"])
    assert "no system prompt that they share" in exported.output


def test_from_a_run_to_production_and_back(run: Path) -> None:
    assert "no specialists yet" in say()
    assert "kept as lengths@1" in say("commit", str(run), "--name", "lengths", "-m", "first try")
    assert "is this very bundle already" in say("commit", str(run), "--name", "lengths")
    shown = json.loads(say("show", "lengths", "--json"))
    assert shown["manifest"]["system_prompt"] == PROMPT and shown["message"] == "first try"
    assert shown["manifest"]["data"][0]["rows"] == 8 and shown["form"] == "adapter"
    store = SpecialistStore(Path("specialists"))
    first = store.find("lengths")
    with store.artifacts.open(first.files["examples.jsonl"]) as file:
        asked = [json.loads(line)["messages"] for line in file.read().splitlines()]
    assert asked[0] == [{"role": "user", "content": "How long is 0?"}] and len(asked) == 8
    load_model(str(store.opened(first) / "model"))  # what was kept answers

    refused = CliRunner().invoke(app, ["specialists", "promote", "lengths@1"])
    assert isinstance(refused.exception, RegistryError) and "has no verdict" in str(refused.exception)
    assert "promote lengths@1 as production" in say("promote", "lengths@1", "--force", "--reason", "a demo")
    say("commit", str(run), "--name", "lengths", "--system", "Answer in feet.", "--licence", "MIT")
    store.attach(store.find("lengths@2"), "verdict", {"word": "ship"})
    assert "(was 1)" in say("promote", "lengths@2")
    table = say()
    assert "lengths@2" in table and "production" in table and "ship" in table
    changed = say("diff", "lengths@1", "lengths@2", code=1)
    assert "-Answer in metres.\\n" in changed and "+Answer in feet." in changed and "licence" in changed
    assert "are the same" in say("diff", "lengths@1", "lengths@1")
    assert "  comes from" in say("lineage", "lengths@2") and "graph LR" in say(
        "lineage", "lengths@2", "--mermaid"
    )
    graph = json.loads(say("lineage", "lengths@2", "--json"))
    assert {node["kind"] for node in graph["nodes"]} == {"base", "data", "run", "specialist", "verdict"}
    assert "rollback lengths@1" in say("rollback", "lengths", "--reason", "feet confuse people")
    assert "feet confuse people" in say("show", "lengths@1")
    assert say("verify").startswith("sound: 2 versions")


def test_there_and_back_in_one_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say("commit", str(run), "--name", "lengths")
    say("export", "lengths", "--out", "one.tar")
    again = CliRunner().invoke(app, ["specialists", "export", "lengths", "--out", "one.tar"])
    assert isinstance(again.exception, RegistryError) and "--force" in str(again.exception)
    monkeypatch.setenv("LUTHIER_SPECIALISTS", "elsewhere")
    assert "kept as lengths@1" in say("import", "one.tar")
    assert "removed lengths@1" in say("remove", "lengths@1")
    assert "removed" in say("verify", "--collect") and json.loads(say("verify", "--json"))["num_files"] == 0


def test_damage_is_an_exit_code(run: Path) -> None:
    say("commit", str(run), "--name", "lengths")
    store = SpecialistStore(Path("specialists"))
    id = store.find("lengths").files["recipe.yaml"].id.removeprefix("sha256:")
    Path(f"specialists/files/{id[:2]}/{id}").unlink()
    assert "damaged" in say("verify", code=1) and "no longer in the store" in say("verify", code=1)


def test_only_finished_runs_are_kept(run: Path) -> None:
    create_run(Path("runs/empty"), recipe_yaml="", data_manifest=[])
    result = CliRunner().invoke(app, ["specialists", "commit", "runs/empty", "--name", "x"])
    assert isinstance(result.exception, RunError) and "its status is created" in str(result.exception)


def test_the_page_is_written_at_commit_and_grows_with_what_is_known(run: Path, model_folder: str) -> None:
    assert "report: specialists/reports/lengths@1.html" in say("commit", str(run), "--name", "lengths")
    page = Path("specialists/reports/lengths@1.html")
    assert "Nothing was measured yet" in page.read_text(encoding="utf-8")
    items = [{"id": f"q{n}", "question": f"How long is {n}?", "answer": f"{n} metres."} for n in range(4)]
    Path("items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    models = [model_folder, str(run)]
    asked = ["eval", *models, "--items", "items.jsonl", "--max-new-tokens", "2", "--out", "answers"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    own = next(path for path in Path("answers").glob("*.jsonl") if "first" in path.name)
    base = next(path for path in Path("answers").glob("*.jsonl") if path != own)
    said = say("results", "lengths@1", str(base), str(own), "--name", "lengths")
    assert "not enough evidence at alpha 0.05: 0 won, 0 lost" in said
    assert "Results: lengths" in page.read_text(encoding="utf-8")
    assert "evaluation lengths: not enough evidence" in say("lineage", "lengths")
    say("commit", str(run), "--name", "lengths", "--licence", "MIT")
    changed = say("diff", "lengths@2", "lengths@1", "--json", code=1)
    assert "0.0% of 4, +0.0 points against" in changed and "evaluation: lengths" in changed
    say("remove", "lengths@2")
    assert not Path("specialists/reports/lengths@2.html").exists()
    out = say("report", "lengths", "--out", "page.html", "--price-per-hour", "1.5")
    assert out.strip() == "page.html" and "at 1.5 an hour" in Path("page.html").read_text(encoding="utf-8")


def test_a_promoted_version_that_is_gone_is_said(run: Path) -> None:
    """Somebody wrote to the database behind the store's back: every verb says so, none makes it worse."""
    say("commit", str(run), "--name", "lengths")
    say("commit", str(run), "--name", "lengths", "--system", "Answer in feet.")
    say("promote", "lengths@1", "--force", "--reason", "a demo")
    with sqlite3.connect("specialists/store.sqlite") as database:
        database.execute("delete from versions where number = 1")
    for words in (("show", "lengths@production"), ("report", "lengths@production"), ("remove", "lengths@1")):
        refused = CliRunner().invoke(app, ["specialists", *words])
        assert isinstance(refused.exception, RegistryError) and "no such version" in str(refused.exception)
    assert "'production' means version 1, which is not there" in say("verify", code=1)
    say("promote", "lengths@2", "--force", "--reason", "the one that is there")
    refused = CliRunner().invoke(app, ["specialists", "rollback", "lengths"])
    assert isinstance(refused.exception, RegistryError) and "there is none before it" in str(
        refused.exception
    )
    assert say("verify").startswith("sound: 1 versions")


def test_a_specialist_is_asked_with_its_own_prompt_and_another_one_is_a_warning(run: Path) -> None:
    say("commit", str(run), "--name", "lengths")
    Path("items.jsonl").write_text(
        '{"id": "q", "question": "How long?", "answer": "1 metre."}\n', encoding="utf-8"
    )
    asked = ["eval", "lengths@1", "--items", "items.jsonl", "--max-new-tokens", "2", "--out", "answers"]
    talked = ["chat", "lengths@1", "--ask", "How long?", "--max-new-tokens", "2"]
    for words in (asked, talked):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0 and "another system prompt" not in result.stderr, result.output
        other = CliRunner().invoke(app, [*words, "--system", PROMPT.strip()])  # without the last end of line
        assert other.exit_code == 0, other.output
        assert "warning: lengths@1 is asked with another system prompt than its own" in other.stderr
        assert "-Answer in metres.\\n" in other.stderr and "+Answer in metres." in other.stderr
    kept = "".join(path.read_text(encoding="utf-8") for path in Path("answers").glob("*.summary.json"))
    assert json.dumps(PROMPT) in kept and json.dumps(PROMPT.strip()) in kept


def test_a_specialist_names_the_documents_that_it_answers_from(run: Path) -> None:
    missing = CliRunner().invoke(
        app, ["specialists", "commit", str(run), "--name", "x", "--knowledge", "sport"]
    )
    assert isinstance(missing.exception, ServingError) and "no knowledge here" in str(missing.exception)
    Path("rugby.md").write_text("The field is 68 metres wide.")
    assert CliRunner().invoke(app, ["knowledge", "add", "rugby.md", "--to", "sport"]).exit_code == 0
    say("commit", str(run), "--name", "lengths", "--knowledge", "sport", "--passages", "2")
    assert "sport, 2 passages a question" in say("show", "lengths@1")
    assert SpecialistStore(Path("specialists")).find("lengths@1").knowledge == NamedKnowledge("sport", 2)
    say("commit", str(run), "--name", "lengths")
    assert SpecialistStore(Path("specialists")).find("lengths@2").knowledge is None
