"""`luthier sandbox check`: a table or JSON, and an exit code that a script can use."""

import json

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.sandbox import check
from luthier.sandbox.attacks import ATTACKS
from luthier.sandbox.levels import find_level
from luthier.sandbox.words import Level


@pytest.mark.slow
def test_a_wall_that_holds_exits_with_0_and_tells_every_attack() -> None:
    if find_level().level is Level.NONE:
        pytest.skip(f"no wall holds here: {find_level().missing}")
    done = CliRunner().invoke(app, ["sandbox", "check", "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["through"] == 0
    assert {row["name"] for row in answer["attacks"]} == {attack.name for attack in ATTACKS}


def test_a_wall_with_a_hole_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_level().level is Level.NONE:
        pytest.skip(f"no wall holds here: {find_level().missing}")
    harmless = [attack for attack in ATTACKS if attack.name == "own_environment"]
    monkeypatch.setattr("luthier.sandbox.attacks.ATTACKS", harmless)
    monkeypatch.setattr(check, "_evidence", lambda *_: "a hole made for this test")
    done = CliRunner().invoke(app, ["sandbox", "check"])
    assert done.exit_code == 1
    assert "1 got through" in done.stdout
