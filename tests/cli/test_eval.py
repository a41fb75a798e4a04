"""`luthier eval`: the group with a verb that needs no name, and the plan of how many items."""

import json

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import EvaluationError
from luthier.evaluation import stats


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_plan_gives_the_number_of_items() -> None:
    value = json.loads(
        said("eval", "plan", "--gap", "0.1", "--power", "0.8", "--discordance", "0.2", "--json")
    )
    (row,) = value["rows"]
    assert (value["gap"], value["power"], value["alpha"], value["items"]) == (0.1, 0.8, 0.05, 50)
    assert row["items_needed"] == stats.items_needed(0.1, 0.2, 0.8)
    assert row["power_with_items"] == stats.mcnemar_power(50, 0.1, 0.2)
    assert row["smallest_gap_with_items"] == stats.smallest_gap(50, 0.2)
    assert (row["won"], row["lost"]) == (pytest.approx(0.15), pytest.approx(0.05))


def test_without_a_discordance_the_plan_is_a_table() -> None:
    text = said("eval", "plan", "--gap", "0.2", "--items", "30")
    assert "57%" in text  # the chance with 30 items where nothing is lost
    assert stats.mcnemar_power(30, 0.2, 0.2) == pytest.approx(0.57, abs=0.005)
    assert str(stats.items_needed(0.2, 0.2)) in text and str(stats.items_needed(0.2, 0.5)) in text
    rows = json.loads(said("eval", "plan", "--gap", "0.6", "--json"))["rows"]
    assert [row["discordance"] for row in rows] == [0.6]


def test_a_plan_that_cannot_be_is_an_error() -> None:
    result = CliRunner().invoke(app, ["eval", "plan", "--gap", "0.3", "--discordance", "0.2"])
    assert isinstance(result.exception, EvaluationError)
    assert "discordance: expected a share from the gap (0.3) to 1" in str(result.exception)


@pytest.mark.parametrize("arguments", [["model"], ["--items", "absent.jsonl", "model"], ["run", "model"]])
def test_the_verb_run_needs_no_name(arguments: list[str]) -> None:
    if "--items" not in arguments:
        arguments = [*arguments, "--items", "absent.jsonl"]
    result = CliRunner().invoke(app, ["eval", *arguments])
    assert isinstance(result.exception, EvaluationError)
    assert "absent.jsonl: cannot read the evaluation items" in str(result.exception)
    assert "plan" in said("eval", "--help") and "run" in said("eval", "--help")
