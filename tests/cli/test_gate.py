"""`luthier gate` on real small models: words, exit codes, what is kept, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError, LuthierError, ModelError, RegistryError
from luthier.models.embedded import EMBEDDED
from luthier.registry.specialists import SpecialistStore
from tests.toy import byte_tokenizer, tiny_model

PROMPT = "Answer in metres."


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["gate", *words])


def error(*words: str) -> LuthierError:
    found = invoke(*words).exception
    assert isinstance(found, LuthierError), found
    return found


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def sums(count: int, start: int = 1) -> list[dict[str, Any]]:
    return [{"question": f"What is {n} plus 2?", "answer": n + 2} for n in range(start, start + count)]


def ordinary(count: int) -> list[dict[str, Any]]:
    return [
        {"question": f"Tell me about the number {n}.", "refuse": False, "grader": "refusal"}
        for n in range(count)
    ]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("toy")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def specialist(toy: str) -> str:
    """A run of two steps, kept as a specialist with a system prompt of its own."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"How long is {n}?"},
                {"role": "assistant", "content": f"{n} metres."},
            ]
        }
        for n in range(8)
    ]
    write("rows.jsonl", rows)
    trained = ["train", "--data", "rows.jsonl", "--model", toy, "--name", "one", "train.max_steps=2"]
    kept = ["specialists", "commit", "runs/one", "--name", "lengths", "--system", PROMPT]
    for words in (trained, kept):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    return "lengths@1"


def test_an_identical_copy_of_a_real_model_has_nothing_to_gain() -> None:
    shutil.copytree(EMBEDDED["luthier-nano"].folder, "copy")
    items = write("items.jsonl", sums(20))
    policy = "format: {at_least: 0.5}\nforgetting: {required: false}\ngolden: {required: false}\n"
    Path("gate.yaml").write_text(policy, encoding="utf-8")
    train = write(
        "train.jsonl",
        [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}],
    )
    words = [
        *("copy", "--champion", "luthier-nano", "--items", items, "--train", train),
        *(
            "--ordinary",
            write("ordinary.jsonl", ordinary(20)),
            "--policy",
            "gate.yaml",
            "--max-new-tokens",
            "24",
        ),
    ]
    found = invoke(*words)
    assert found.exit_code == 5, found.output
    assert (
        "nothing to gain" in " ".join(found.output.split()) and "not enough evidence: domain" in found.output
    )
    assert "not enough evidence" in Path("gates/copy/gate.html").read_text(encoding="utf-8")
    assert len(list(Path("gates/copy/answers").glob("*.jsonl"))) == 3
    write("items.jsonl", sums(20, 5))
    changed = json.loads(invoke(*words, "--json").stdout)
    assert changed["word"] == "hold"
    assert [one["criterion"] for one in changed["reasons"] if one["asks_for"] == "hold"] == ["untouched"]


def test_a_specialist_keeps_its_verdict_and_a_foreign_prompt_is_told(specialist: str, toy: str) -> None:
    items = write(
        "items.jsonl", [{"question": f"How long is {n}?", "answer": f"{n} metres."} for n in range(4, 12)]
    )
    asked = [specialist, "--champion", toy, "--items", items, "--ordinary", write("o.jsonl", ordinary(2))]
    asked += ["--max-new-tokens", "2", "--base", toy]
    found = json.loads(invoke(*asked, "--json").stdout)
    leaks = next(one for one in found["reasons"] if one["criterion"] == "leaks")
    assert (leaks["outcome"], leaks["number"], leaks["asks_for"]) == ("missed", 4, "hold")
    assert not found["warnings"] and found["candidate"]["system_prompt_hash"].startswith("sha256:")
    store = SpecialistStore(Path("specialists"))
    assert store.records(store.find(specialist), "verdict")[0]["body"] == found
    promoted = CliRunner().invoke(app, ["specialists", "promote", specialist])
    assert isinstance(promoted.exception, RegistryError) and found["word"] in str(promoted.exception)
    told = invoke(*asked, "--system", "Answer in feet.")
    assert "-Answer in metres." in told.output and "+Answer in feet." in told.output


def test_another_specialist_in_the_store_must_be_measured(specialist: str, toy: str) -> None:
    items = write("items.jsonl", sums(2))
    asked = [toy, "--champion", toy, "--items", items, "--ordinary", write("o.jsonl", ordinary(1)), "--json"]
    asked += ["--max-new-tokens", "1"]

    def others() -> list[tuple[str, str]]:
        reasons = json.loads(invoke(*asked).stdout)["reasons"]
        return [
            (one["criterion"], one["outcome"]) for one in reasons if one["criterion"].startswith("others")
        ]

    assert others() == [("others: lengths", "not measured")]
    asked += ["--other", f"lengths={write('lengths.jsonl', sums(3))}"]
    assert others() == [("others: lengths", "not enough evidence")]


def test_what_is_wrong_is_said(toy: str) -> None:
    items = write("items.jsonl", sums(2))
    assert isinstance(error("a", "--items", items), ConfigError)
    assert "--items FILE" in str(error("a", "--champion", "b"))
    assert isinstance(error("./nowhere", "--champion", toy, "--items", items), ModelError)
    assert "no specialist is called 'x@3'" in str(error("x@3", "--champion", toy, "--items", items))
    Path("gate.yaml").write_text("forgeting: {}", encoding="utf-8")
    assert "did you mean 'forgetting'" in str(error("a", "--policy", "gate.yaml"))
    assert "NAME=FILE" in str(error(toy, "--champion", toy, "--items", items, "--other", "x"))
    assert "named twice" in str(error(toy, "--champion", toy, "--items", items, "--golden", items))
    Path("judged.json").write_text('{"tone": {"word": "fit to decide"}}', encoding="utf-8")
    assert "judged.json" in str(error(toy, "--champion", toy, "--items", items, "--judged", "judged.json"))


def test_the_policy_can_be_printed() -> None:
    shown = invoke("--show-policy")
    assert shown.exit_code == 0 and "over_refusal:\n  required: true\n  at_most: 0.05" in shown.stdout
