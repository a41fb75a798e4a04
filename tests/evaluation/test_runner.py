"""The runner: what is asked, in which order, what is kept, and what comes back from the disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation import graders
from luthier.evaluation.graders import Verdict, VerdictWord
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import AnsweredItem, evaluate, load_result, save_result, summary_path
from luthier.evaluation.task import items_hash, load_items
from tests.evaluation.calculator import Calculator, sums


def test_every_prompt_answer_and_verdict_is_kept_in_the_order_of_the_items() -> None:
    items = sums(6, "plus", "times")
    result = evaluate(Calculator("adder", "plus"), items)
    assert [one.id for one in result.items] == [item.id for item in items]
    assert (result.model_name, result.prompt_variant, result.label) == ("adder", "plain", "adder")
    assert (result.items_hash, result.accuracy) == (items_hash(items), 0.5)
    assert (result.settings.decoding, result.settings.temperature) == ("greedy", 0.0)
    right, wrong = result.items[1], result.items[7]
    assert (right.prompt, right.answer) == ("<user>What is 27 plus 1?", "That makes 28.")
    assert (right.verdict, right.score, right.reason) == (VerdictWord.PASSED, 1.0, "28, expected 28")
    assert (right.num_tokens, right.num_prompt_tokens) == (len(right.answer), len(right.prompt))
    assert (wrong.answer, wrong.verdict, wrong.score) == ("I do not know.", VerdictWord.FAILED, 0.0)
    assert {tag: tally.accuracy for tag, tally in result.by_tag().items()} == {
        "even": 0.5,
        "odd": 0.5,
        "plus": 1.0,
        "times": 0.0,
    }
    assert result.terminations() == {"clean": 12, "eos": 0, "length": 0, "malformed": 0}


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_the_longest_prompts_go_first_and_the_batch_size_changes_no_answer(batch_size: int) -> None:
    items = sums(12, "plus")
    calculator = Calculator("adder", "plus")
    done: list[tuple[int, int]] = []
    result = evaluate(
        calculator, items, batch_size=batch_size, on_progress=lambda count, total: done.append((count, total))
    )
    lengths = [length for batch in calculator.batch_lengths for length in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert max(map(len, calculator.batch_lengths)) == min(batch_size, 12)
    assert done[-1] == (12, 12) and len(done) == len(calculator.batch_lengths)
    assert result.items == evaluate(Calculator("adder", "plus"), items, batch_size=7).items


def test_the_system_prompt_and_the_examples_come_before_the_question() -> None:
    own = (Message("system", "Be brief."), Message("user", "What is 2 times 3?"))
    item = EvalItem("own", own, "6", grader="numeric")
    shots = (Message("user", "What is 1 times 1?"), Message("assistant", "That makes 1."))
    result = evaluate(Calculator("none"), [item], system_prompt="You know times.", few_shot=shots)
    assert result.items[0].prompt == (
        "<system>You know times.\n\nBe brief.<user>What is 1 times 1?<assistant>That makes 1."
        "<user>What is 2 times 3?"
    )
    assert result.accuracy == 1.0
    assert result.prompt_variant == "system prompt + 1-shot"
    assert (
        evaluate(Calculator("none"), [item], system_prompt="x", prompt_variant="facts").label
        == "none + facts"
    )


def test_answers_that_are_cut_are_counted() -> None:
    result = evaluate(Calculator("adder", "plus"), sums(4, "plus"), max_new_tokens=11)
    assert (result.accuracy, result.terminations()["length"]) == (0.0, 4)
    assert result.items[0].termination is Termination.LENGTH


def test_a_grader_that_fails_says_nothing_about_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(item: EvalItem, text: str) -> Verdict:
        return graders.passed("even") if 1 / (int(item.id[-1]) % 2) else graders.failed("never")

    grader = graders.Grader("fragile", fragile, graders.gold_answers, graders.wrong_answers)
    monkeypatch.setitem(graders.GRADERS, "fragile", grader)
    items = [EvalItem(f"item-{n}", (Message("user", "?"),), "x", grader="fragile") for n in range(4)]
    result = evaluate(Calculator("none"), items)
    assert [one.verdict.value for one in result.items] == ["ungradable", "passed"] * 2
    assert "ZeroDivisionError" in result.items[0].reason
    assert (result.tally.num_ungradable, result.tally.num_graded, result.accuracy) == (2, 2, 1.0)


class Mute(Calculator):
    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        return super().answer(conversations, max_new_tokens)[1:]


def test_what_cannot_be_evaluated_is_refused_before_it_costs_anything() -> None:
    items = sums(2, "plus")
    adder = Calculator("adder", "plus")
    with pytest.raises(EvaluationError, match="at least one item"):
        evaluate(adder, [])
    with pytest.raises(EvaluationError, match="'plus-0' more than once"):
        evaluate(adder, [items[0], items[0]])
    with pytest.raises(EvaluationError, match="batch_size=0"):
        evaluate(adder, items, batch_size=0)
    with pytest.raises(EvaluationError, match="few-shot: expected turns from user to assistant, found user"):
        evaluate(adder, items, few_shot=[Message("user", "x")])
    with pytest.raises(EvaluationError, match="no grader is called 'nun'"):
        evaluate(adder, [EvalItem("x", items[0].messages, "1", grader="nun")])
    assert adder.batch_lengths == []
    with pytest.raises(EvaluationError, match="mute: expected 2 answers, one per prompt, found 1"):
        evaluate(Mute("mute"), items)


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    odd = EvalItem(
        "odd \ud800", (Message("user", "line\u2028break 1 plus 1"),), "2", tags=("é",), grader="numeric"
    )
    shots = (Message("user", "a"), Message("assistant", "b"))
    result = evaluate(
        Calculator("adder", "plus"), [*sums(5, "plus"), odd], system_prompt="Ä\n", few_shot=shots
    )
    save_result(result, path)
    assert load_result(path) == result
    assert len(path.read_text(encoding="utf-8").split("\n")) == 7
    summary = json.loads(summary_path(path).read_text(encoding="utf-8"))
    assert (summary["num_items"], summary["num_passed"], summary["accuracy"]) == (6, 6, 1.0)
    assert summary["by_tag"]["é"] == {"num_passed": 1, "num_failed": 0, "num_ungradable": 0, "accuracy": 1.0}
    assert sorted(file.name for file in path.parent.iterdir()) == ["results.jsonl", "results.summary.json"]


def test_a_torn_or_edited_result_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(EvaluationError, match=r"results\.jsonl: cannot read the evaluation result: No such"):
        load_result(path)
    save_result(evaluate(Calculator("adder", "plus"), sums(3, "plus")), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(EvaluationError, match="is not what its summary describes"):
        load_result(path)
    path.write_bytes(whole)
    summary = json.loads(summary_path(path).read_text(encoding="utf-8"))
    del summary["model_name"]
    summary_path(path).write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(EvaluationError, match="a field is missing or wrong"):
        load_result(path)
    summary_path(path).write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(EvaluationError, match="summary of format 1"):
        load_result(path)
    summary_path(path).write_text("{", encoding="utf-8")
    with pytest.raises(EvaluationError, match="broken JSON"):
        load_result(path)


def test_from_file_to_result(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    rows = [
        {"question": "What is 30 plus 38?", "must": [68], "must_not": ["know"]},
        {"question": "Who won in 1995?", "must_not": [68, 112]},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    result = evaluate(Calculator("adder", "plus"), load_items(file))
    assert [one.verdict.value for one in result.items] == ["passed", "passed"]
