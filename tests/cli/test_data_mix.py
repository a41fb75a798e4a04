"""`luthier data mix` end to end, in this process."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import ConfigError, DataError
from tests.toy import byte_tokenizer, tiny_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, size in (("a", 30), ("b", 20), ("f", 2)):
        rows = [{"prompt": f"{name}{i}", "completion": f"{name} says {i}"} for i in range(size)]
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["mix", *map(str, arguments)])


def letters(path: Path) -> Counter[str]:
    return Counter(json.loads(line)["prompt"][0] for line in path.read_text().splitlines())


def test_shares_are_named_in_either_way(folder: Path) -> None:
    done = run("a.jsonl=0.6", "--source", "b.jsonl=0.4", "--rows", 20, "--out", "m.jsonl", "--json")
    manifest = json.loads(done.output)
    assert letters(folder / "m.jsonl") == {"a": 12, "b": 8}
    assert set(manifest) == {
        "out", "sha256", "rows", "by", "amount", "stop", "temperature", "order", "seed", "format", "lost",
        "shared_rows", "sources",
    }  # fmt: skip
    assert set(manifest["sources"][0]) == {
        "path", "role", "stated", "files", "formats", "rows_available", "rows_taken", "rows_distinct", "copies",
        "amount_available", "amount_taken", "share_wanted", "share_got",
    }  # fmt: skip
    assert json.loads((folder / "m.jsonl.manifest.json").read_text()) == manifest
    shown = run("a.jsonl", "--upsample", "f.jsonl=3", "--replay", "b.jsonl=0.1", "--out", "n.jsonl").output
    assert letters(folder / "n.jsonl") == {"a": 30, "f": 6, "b": 4}
    assert "upsample" in shown and "40 rows, shuffled" in shown


def test_a_recipe_gives_way_to_the_command_line(folder: Path) -> None:
    (folder / "mix.yaml").write_text(
        "sources:\n  - {path: a.jsonl, share: 0.5}\n  - {path: b.jsonl, share: 0.5}\ntotal: 10\norder: as_given\n",
        encoding="utf-8",
    )
    run("--recipe", "mix.yaml", "--out", "m.jsonl")
    assert letters(folder / "m.jsonl") == {"a": 5, "b": 5}
    told = json.loads(run("--recipe", "mix.yaml", "--rows", 4, "--out", "n.jsonl", "--json").output)
    assert told["rows"] == 4 and told["order"] == "as_given"


def test_shares_in_tokens(folder: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder / "model")
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(folder / "model")
    arguments = ["a.jsonl=0.5", "b.jsonl=0.5", "--by", "tokens", "--total", 600, "--out", "m.jsonl"]
    manifest = json.loads(run(*arguments, "--model", "model", "--json").output)
    assert abs(manifest["amount"] - 600) < 60 and manifest["by"] == "tokens"
    assert isinstance(run(*arguments, "--force").exception, DataError)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], DataError, "nothing to mix"),
        (["a.jsonl=0"], ConfigError, "greater than 0"),
        (["a.jsonl=-1"], ConfigError, "greater than 0"),
        (["a.jsonl=nan"], ConfigError, "finite number"),
        (["a.jsonl=some"], DataError, "expected a number after the '='"),
        (["gone.jsonl"], DataError, "gone.jsonl"),
        (["a.jsonl", "--replay", "b.jsonl=1"], ConfigError, "less than 1"),
        (["a.jsonl", "--replay", "b.jsonl"], DataError, "expected FILE=SHARE"),
        (["a.jsonl", "--upsample", "f.jsonl=2.5"], DataError, "expected a whole number"),
        (["a.jsonl=1", "b.jsonl=1", "--rows", "100"], DataError, "comes to 50 rows, but it has 30"),
        (["a.jsonl", "--rows", "0"], ConfigError, "greater than 0"),
        (["a.jsonl", "--stop", "soon"], ConfigError, "first_exhausted"),
        (["a.jsonl", "--by", "lines"], ConfigError, "'rows', 'characters' or 'tokens'"),
        (["a.jsonl", "--order", "difficulty"], DataError, "a.jsonl:1: the field 'difficulty'"),
        (["a.jsonl", "--temperature", "0"], ConfigError, "greater than 0"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    folder: Path, arguments: list[str], kind: type[Exception], message: str
) -> None:
    error = run(*arguments, "--out", "m.jsonl").exception
    assert isinstance(error, kind) and message in str(error), error
    assert sorted(path.name for path in folder.iterdir()) == ["a.jsonl", "b.jsonl", "f.jsonl"]
