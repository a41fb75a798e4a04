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


@pytest.mark.slow
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
    kept = store.records(store.find(specialist), "evaluation")
    assert {one["body"]["role"] for one in kept} >= {"domain", "general"}
    page = (Path(store.root) / "reports" / f"{specialist}.html").read_text(encoding="utf-8")
    assert f"The word is <strong>{found['word']}</strong>" in page and "(domain)" in page
    promoted = CliRunner().invoke(app, ["specialists", "promote", specialist])
    assert isinstance(promoted.exception, RegistryError) and found["word"] in str(promoted.exception)
    again = invoke(specialist, "--champion", toy, *asked[5:], "--json")
    assert json.loads(again.stdout)["sets"] == found["sets"], (
        "the items of the last verdict, where none are named"
    )
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
    store = SpecialistStore(Path("specialists"))
    for word, count in (("ship", 4), ("hold", 2)):
        own = {"role": "domain", "path": str(Path(f"{word}.jsonl").absolute()), "hash": "sha256:0"}
        write(f"{word}.jsonl", sums(count))
        store.attach(store.find(specialist), "verdict", {"word": word, "sets": [own]})
    found = json.loads(invoke(*asked[:-2]).stdout)["sets"]
    assert [one["num_items"] for one in found if one["role"] == "others"] == [4], "what it was let in on"


def test_what_is_wrong_is_said(toy: str) -> None:
    items = write("items.jsonl", sums(2))
    assert isinstance(error("a", "--items", items), ConfigError)
    assert "--champion NAME" in str(error("a", "--items", items))
    assert isinstance(error("./nowhere", "--champion", toy, "--items", items), ModelError)
    assert "no specialist is called 'x@3'" in str(error("x@3", "--champion", toy, "--items", items))
    Path("gate.yaml").write_text("forgeting: {}", encoding="utf-8")
    assert "did you mean 'forgetting'" in str(error("a", "--policy", "gate.yaml"))
    assert "NAME=FILE" in str(error(toy, "--champion", toy, "--items", items, "--other", "x"))
    assert "named twice" in str(error(toy, "--champion", toy, "--items", items, "--golden", items))
    assert "what the candidate is for" in str(error(toy, "--champion", toy))
    judged = "judge: {model: 'http://localhost:1/v1'}\njudged: [{criterion: tone}]"
    Path("gate.yaml").write_text(judged, encoding="utf-8")
    assert "the model's name there" in str(
        error(toy, "--champion", toy, "--items", items, "--policy", "gate.yaml")
    )


def test_a_policy_names_its_items_and_many_candidates_are_told(toy: str) -> None:
    Path("policies").mkdir()
    write("policies/items.jsonl", sums(2))
    write("policies/asked.jsonl", ordinary(1))
    policy = (
        "domain: {items: [items.jsonl]}\nover_refusal: {items: asked.jsonl}\nlatency: {p95_seconds: 60}\n"
    )
    Path("policies/gate.yaml").write_text(policy, encoding="utf-8")
    asked = [toy, "--champion", toy, "--policy", "policies/gate.yaml", "--max-new-tokens", "1", "--json"]
    first = json.loads(invoke(*asked).stdout)
    assert [one["path"] for one in first["sets"] if one["role"] == "domain"] == [
        str(Path("policies/items.jsonl").absolute())
    ]
    assert [one["num_items"] for one in first["sets"]] == [2, 1] and not first["warnings"]
    timed = next(one for one in first["reasons"] if one["criterion"] == "latency")
    assert timed["outcome"] == "met" and 0 < timed["number"] < 60
    ledger = json.loads(Path("gates/sets.json").read_text(encoding="utf-8"))
    for entry in ledger.values():
        entry["candidates"] += ["sha256:a", "sha256:b", "sha256:c", "sha256:d"]
    Path("gates/sets.json").write_text(json.dumps(ledger), encoding="utf-8")
    assert "asked of 5 candidates before" in json.loads(invoke(*asked).stdout)["warnings"][0]


def test_choices_are_scored_where_the_task_says_so(toy: str) -> None:
    row = {"question": "Which comes first?", "choices": ["one", "a much longer choice"], "answer": "one"}
    write("items.jsonl", [{**row, "id": str(n), "question": f"{n}: which?"} for n in range(3)])
    Path("task.yaml").write_text("items: items.jsonl\ngraders: [choice]\nask: likelihood\n", encoding="utf-8")
    asked = [toy, "--champion", toy, "--items", "task.yaml", "--ordinary", write("o.jsonl", ordinary(1))]
    found = json.loads(invoke(*asked, "--max-new-tokens", "1", "--json").stdout)
    (format,) = [one for one in found["reasons"] if one["criterion"] == "format"]
    assert (format["outcome"], format["asks_for"]) == ("not measured", "hold")
    (summary,) = Path("gates").glob("*/answers/*domain-task.summary.json")
    assert json.loads(summary.read_text(encoding="utf-8"))["settings"]["decoding"] == "likelihood"
    assert "needs a local model" in str(error("http://localhost:1/v1#m", *asked[1:]))


def test_a_task_whose_graders_changed_is_not_the_set_it_was(toy: str) -> None:
    write("items.jsonl", sums(2))
    Path("task.yaml").write_text("items: items.jsonl\ngraders: [numeric]\n", encoding="utf-8")
    asked = [toy, "--champion", toy, "--items", "task.yaml", "--max-new-tokens", "1", "--json"]
    asked += ["--ordinary", write("o.jsonl", ordinary(1))]

    def untouched() -> str:
        reasons = json.loads(invoke(*asked).stdout)["reasons"]
        return next(str(one["outcome"]) for one in reasons if one["criterion"] == "untouched")

    assert [untouched(), untouched()] == ["met", "met"]
    Path("task.yaml").write_text(
        "items: items.jsonl\ngraders: [{kind: numeric, absolute: 0.5}]\n", encoding="utf-8"
    )
    assert untouched() == "missed"


def test_the_policy_can_be_printed() -> None:
    shown = invoke("--show-policy")
    assert shown.exit_code == 0 and "over_refusal:\n  required: true\n  at_most: 0.05" in shown.stdout
