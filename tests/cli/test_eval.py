"""`luthier eval`: the verb that needs no name, the plan of how many items, and what is asked, kept and shown."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError, EvaluationError
from luthier.evaluation import stats
from tests.models.chat_server import Request, chat_server, completion


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


ITEMS = "\n".join(
    json.dumps({"id": str(n), "question": f"What is {n} plus 1?", "answer": n + 1}) for n in (1, 2)
)


@pytest.fixture
def items(tmp_path: Path) -> str:
    (tmp_path / "sums.jsonl").write_text(ITEMS, encoding="utf-8")
    return str(tmp_path / "sums.jsonl")


def calculated(request: Request) -> str:
    number = int(str(request["messages"][-1]["content"]).split()[2])
    return str(number + 1) if number == 1 else "I do not know."


def test_a_server_is_evaluated_kept_listed_and_shown(tmp_path: Path, items: str) -> None:
    out = str(tmp_path / "kept")
    with chat_server(calculated) as (url, seen):
        command = ["eval", f"{url}#served", "--items", items, "--out", out, "--json"]
        (summary,) = json.loads(said(*command, "--price-in", "1000000", "--price-out", "0"))
        assert (summary["num_passed"], summary["num_failed"], summary["cost"]) == (1, 1, 14.0)
        assert summary["speed"]["p50_latency_seconds"] > 0
        said(*command)
        assert len(seen) == 4, "a server is asked again, unless told otherwise"
        said(*command, "--resume")
        assert len(seen) == 4
        text = said(*command[:-1], "--repeats", "2", "--speed")
    assert "verdicts that change by themselves" in text and "latency p95" in text
    rows = json.loads(said("eval", "list", "--folder", out, "--json"))
    assert [row["num_answered"] for row in rows] == [2, 2, 2, 2] and rows[0]["asked"]["repeat"] == 1
    shown = said("eval", "show", "1", "--folder", out, "--failed")
    assert (
        "1 of 2 right" in shown
        and "'I do not know.'" in shown
        and "'2'" not in shown
        and "What is 2 plus 1?" in shown
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "2"], "they are all the same"),
        (["--repeats", "2", "--temperature", "1"], "--repeats measures what changes"),
        (["--price-in", "1"], "both prices"),
        (["--api-key-variable", "LUTHIER_NO_SUCH_KEY"], "LUTHIER_NO_SUCH_KEY, which is not set"),
    ],
)
def test_options_that_would_do_nothing_are_errors(items: str, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["eval", "http://localhost:1/v1#m", "--items", items, *options])
    assert isinstance(result.exception, ConfigError) and message in str(result.exception)


def test_answers_that_were_cut_are_counted_and_shown(tmp_path: Path, items: str) -> None:
    with chat_server(lambda _: completion("2 and then", finish_reason="length")) as (url, _):
        text = said("eval", f"{url}#served", "--items", items, "--out", str(tmp_path / "kept"))
    assert "cut at the limit of tokens" in text
    with pytest.raises(EvaluationError, match="nothing was evaluated into this folder"):
        CliRunner().invoke(
            app, ["eval", "list", "--folder", str(tmp_path / "absent")], catch_exceptions=False
        )


def test_baselines_of_a_base_and_a_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server stands for both; the base is right only with the right prompt."""
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(n), "question": f"What is {n} plus 1?", "answer": n + 1} for n in range(12)]
    Path("sums.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    Path("sums.yaml").write_text("items: sums.jsonl\ngraders: [numeric]\n", encoding="utf-8")
    turns = [{"role": "user", "content": "What is 30 plus 1?"}, {"role": "assistant", "content": "31"}]
    train = [{"messages": turns}, {"messages": [{**turns[0], "content": "What is 40 plus 1?"}, turns[1]]}]
    Path("train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in train), encoding="utf-8")
    Path("facts.jsonl").write_text(json.dumps({"id": "1", "text": "plus adds"}), encoding="utf-8")

    def answer(request: Request) -> str:
        *before, last = [str(one["content"]) for one in request["messages"]]
        number = int(last.split("What is ")[1].split()[0])
        return str(number + 1) if request["model"] == "trained" or before == ["Add."] else "no"

    with chat_server(answer) as (url, seen):
        command = ["eval", "baselines", f"{url}#trained", "--task", "sums.yaml", "--base", f"{url}#base"]
        command += ["--documents", "facts.jsonl", "--train", "train.jsonl", "--shots", "1", "--json"]
        found = json.loads(said(*command))
        assert [one["accuracy"] for one in found["results"]] == [0.0, 0.0, 0.0, 1.0]
        assert [one["prompt_variant"] for one in found["results"]] == [
            "zero-shot",
            "1-shot",
            "retrieval of 3",
            "plain",
        ]
        assert found["verdict"]["word"] == "train" and found["notes"] == []
        assert any(one["messages"][0]["content"].startswith("plus adds\n\nWhat") for one in seen)
        text = said(
            *command[:-1], "--system", "Add."
        )  # a prompt that is as good, but 12 items cannot show that
        assert "not enough evidence" in text and "prompt 1" in text
        bare = said("eval", "baselines", f"{url}#base", "--task", "sums.yaml")
    assert "no few-shot baseline" in bare and "train:" not in bare
