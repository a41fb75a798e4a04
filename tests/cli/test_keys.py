"""`luthier keys`: made, listed and revoked; the key is printed once and alone, so that it can be piped."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ServingError
from luthier.serving.keys import KeyRing


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["keys", *words])


def test_made_listed_revoked(tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "keys.json"))
    limits = ("--days", "30", "--requests-per-minute", "60", "--concurrent", "4", "--specialist", "sql")
    made = invoke("new", "anna", *file, *limits)
    token = made.stdout.strip()
    assert token.startswith("sk-luthier-") and "\n" not in token and "shown this once" in made.stderr
    ring = KeyRing.load(tmp_path / "keys.json")
    key = ring.authenticate(token)
    assert key and key.may_ask("sql") and not key.may_ask("base") and not key.admin
    other = json.loads(invoke("new", "root", *file, "--admin", "--json").output)
    assert ring.authenticate(other["key"]) and other["admin"]

    listed = json.loads(invoke("list", *file, "--json").output)
    assert [one["name"] for one in listed] == ["anna", "root"] and listed[0]["limits"]["concurrent"] == 4
    assert token.rsplit("-", 1)[-1] not in json.dumps(listed) and "digest" not in listed[0]
    shown = invoke("list", *file).output
    assert "anna" in shown and token not in shown
    assert "revoked anna" in invoke("revoke", "anna", *file).output
    assert ring.authenticate(token) is None


@pytest.mark.parametrize("words", [("list",), ("revoke", "anna"), ("new", "../anna")])
def test_what_cannot_be_is_told(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert isinstance(invoke(*words, "--file", str(tmp_path / "none.json")).exception, ServingError)
