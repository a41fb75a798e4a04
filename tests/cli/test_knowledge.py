"""`luthier knowledge`: documents in, listed, searched, out; what is wrong is said."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError, DataError, LuthierError, RegistryError, ServingError


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["knowledge", *words])


def error(*words: str) -> LuthierError:
    found = invoke(*words).exception
    assert isinstance(found, LuthierError), found
    return found


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("rugby.md").write_text(
        "# Field\n\nThe field is 68 metres wide.\n\n# Posts\n\nPosts stand 5.5 metres apart.\n"
    )
    return tmp_path


def test_from_adding_to_removing() -> None:
    assert "no knowledge yet" in invoke().output
    added = invoke("add", "rugby.md", "--to", "sport", "--words", "20", "--overlap", "0")
    assert "added: rugby.md (2 pieces)" in added.output, added.exception
    assert "unchanged: rugby.md" in invoke("add", ".", "--to", "sport").output
    assert invoke().output == "sport: 1 documents, 2 pieces\n"
    assert json.loads(invoke("--json").output) == [{"name": "sport", "documents": 1, "pieces": 2}]
    assert "pieces of at most 20 words, 0 of overlap" in invoke("show", "sport").output
    assert json.loads(invoke("show", "sport", "--json").output)["documents"][0]["name"] == "rugby.md"
    found = json.loads(invoke("search", "sport", "How far apart are the posts?", "-k", "1", "--json").output)
    assert [(one["document"], one["lines"], one["heading"]) for one in found] == [
        ("rugby.md", [7, 7], "Posts")
    ]
    assert "rugby.md:3" in invoke("search", "sport", "How wide?").output
    assert "nothing there" in invoke("search", "sport", "quantum").output
    assert "removed 2 pieces" in invoke("remove", "sport", "rugby.md").output
    assert (
        "removed sport" in invoke("remove", "sport", "--all").output and not Path("knowledge/sport").exists()
    )
    assert Path("rugby.md").exists()


def test_what_is_wrong_is_said() -> None:
    Path("book.pdf").write_bytes(b"%PDF-1.7")
    assert isinstance(error("add", "book.pdf", "--to", "sport"), DataError)
    assert not Path("knowledge/sport/knowledge.json").exists()
    assert isinstance(error("add", "rugby.md", "--to", "../sport"), RegistryError)
    assert isinstance(error("search", "sport", "x"), ServingError)
    invoke("add", "rugby.md", "--to", "sport")
    assert isinstance(
        error("add", "rugby.md", "--to", "sport", "--words", "9", "--overlap", "0"), ConfigError
    )
    assert isinstance(error("remove", "sport"), ConfigError)
    assert isinstance(error("remove", "sport", "rugby.md", "--all"), ConfigError)
