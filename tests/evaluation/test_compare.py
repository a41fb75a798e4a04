"""Comparison: who is better, on which evidence, and when the items do not suffice."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from luthier.errors import EvaluationError
from luthier.evaluation import stats
from luthier.evaluation.compare import Evidence, compare, render_comparison
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import EvalResult, evaluate
from tests.evaluation.calculator import Calculator, sums

ITEMS = sums(10, "plus", "minus", "times")


def result(name: str, *known: str, carries: bool = True, system_prompt: str | None = None) -> EvalResult:
    return evaluate(Calculator(name, *known, carries=carries), ITEMS, system_prompt=system_prompt)


BASE = result("base")
PROMPTED = result("base", system_prompt="You know plus.")
TUNED = result("tuned", "plus", "minus", "times")


def test_each_later_one_meets_the_first_and_the_last_meets_each() -> None:
    comparison = compare([BASE, PROMPTED, TUNED])
    assert [entry.label for entry in comparison.entries] == ["base", "base + system prompt", "tuned"]
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [
        ("base", "base + system prompt"),
        ("base", "tuned"),
        ("base + system prompt", "tuned"),
    ]
    last = comparison.pairs[2]
    assert (last.wins, last.losses, last.ties, last.num_pairs, last.num_left_out) == (20, 0, 10, 30, 0)
    assert last.p_value == stats.mcnemar_exact(20, 0)
    assert last.difference == pytest.approx(2 / 3)
    assert 0.45 < last.interval.low < 2 / 3 < last.interval.high < 0.85
    assert last.verdict is Evidence.BETTER
    assert last.statement == "better at alpha 0.05: 20 won, 0 lost (net +20)"
    assert comparison.entries[2].interval == stats.wilson_interval(30, 30)
    assert [tally.accuracy for tally in comparison.by_tag["plus"]] == [0.0, 1.0, 1.0]
    assert [tally.accuracy for tally in comparison.by_tag["times"]] == [0.0, 0.0, 1.0]


def test_worse_and_not_enough_evidence_are_verdicts() -> None:
    (worse,) = compare([TUNED, BASE]).pairs
    assert (worse.verdict, worse.wins, worse.losses) == (Evidence.WORSE, 0, 30)
    assert worse.difference == -1.0
    (same,) = compare([TUNED, TUNED]).pairs
    assert (same.verdict, same.p_value, same.ties) == (Evidence.NOT_ENOUGH, 1.0, 30)
    assert (same.interval.low, same.interval.high) == (0.0, 0.0)
    assert (same.first, same.second) == ("tuned (1)", "tuned (2)")


def with_passed(source: EvalResult, passed: set[int]) -> EvalResult:
    """The same evaluation with these items right and the others wrong."""
    items = tuple(
        dataclasses.replace(
            item,
            verdict=VerdictWord.PASSED if index in passed else VerdictWord.FAILED,
            score=float(index in passed),
        )
        for index, item in enumerate(source.items)
    )
    return dataclasses.replace(source, items=items)


def with_sources(source: EvalResult, per_source: int) -> EvalResult:
    items = tuple(
        dataclasses.replace(item, source=f"document {index // per_source}")
        for index, item in enumerate(source.items)
    )
    return dataclasses.replace(source, items=items)


def test_items_of_one_source_are_one_witness() -> None:
    worse, better = with_passed(BASE, set()), with_passed(TUNED, set(range(10)))
    (alone,) = compare([worse, better]).pairs
    assert (alone.verdict, alone.num_sources) == (Evidence.BETTER, None)
    together = compare([with_sources(worse, 10), with_sources(better, 10)])
    (pair,) = together.pairs
    assert (pair.p_value, pair.verdict, pair.num_sources) == (1.0, Evidence.NOT_ENOUGH, 3)
    assert pair.net_wins_needed is None and "needed" not in pair.statement
    assert (pair.interval.low, pair.interval.high) == (0.0, 1.0)
    assert "the 30 items come from 3 sources" in together.notes[0]
    (single,) = compare([with_sources(worse, 1), with_sources(better, 1)]).pairs
    assert single == alone


def test_several_candidates_have_to_be_surer() -> None:
    base, six = with_passed(BASE, set()), with_passed(TUNED, set(range(6)))
    (alone,) = compare([base, six]).pairs
    assert (alone.verdict, alone.p_value, alone.p_adjusted) == (Evidence.BETTER, 0.03125, 0.03125)
    among = compare([base, six, with_passed(TUNED, set(range(3)))])
    assert [pair.p_adjusted for pair in among.pairs] == stats.holm([pair.p_value for pair in among.pairs])
    first = among.pairs[0]
    assert (first.p_value, first.p_adjusted) == (0.03125, pytest.approx(0.09375))
    assert (first.verdict, first.net_wins_needed) == (Evidence.NOT_ENOUGH, stats.wins_needed(0, 0.05 / 3))
    assert among.notes[0].startswith("3 pairs were compared; p is adjusted for that (Holm)")
    enough = compare([base, with_passed(TUNED, set(range(7))), with_passed(TUNED, set(range(3)))]).pairs[0]
    assert enough.verdict is Evidence.BETTER


def test_five_net_wins_are_not_enough_and_it_is_said_how_many_are() -> None:
    (pair,) = compare([with_passed(BASE, set()), with_passed(TUNED, set(range(5)))]).pairs
    assert (pair.p_value, pair.verdict, pair.net_wins_needed) == (0.0625, Evidence.NOT_ENOUGH, 6)
    assert "5 won, 0 lost (net +5); with 0 lost, net +6 would be needed" in pair.statement
    (enough,) = compare([with_passed(BASE, set()), with_passed(TUNED, set(range(6)))]).pairs
    assert enough.verdict is Evidence.BETTER
    (lossy,) = compare([with_passed(BASE, set(range(14))), with_passed(TUNED, set(range(14, 30)))]).pairs
    assert (lossy.wins, lossy.losses) == (16, 14)
    assert lossy.statement.endswith("which 30 items cannot show: use more items")


def test_items_that_could_not_be_graded_are_left_out_and_told() -> None:
    spoilt = tuple(
        dataclasses.replace(item, verdict=VerdictWord.UNGRADABLE, score=0.0) if index < 4 else item
        for index, item in enumerate(TUNED.items)
    )
    comparison = compare([BASE, dataclasses.replace(TUNED, items=spoilt)])
    (pair,) = comparison.pairs
    assert (pair.num_pairs, pair.num_left_out, pair.wins) == (26, 4, 26)
    assert comparison.notes == ("tuned: 4 of 30 could not be graded",)


def test_unequal_limits_and_cut_answers_are_told() -> None:
    short = evaluate(Calculator("short", "plus"), ITEMS, max_new_tokens=12)
    notes = compare([BASE, short]).notes
    assert notes[0] == "the answers had unequal limits of new tokens (base: 64, short: 12)"
    assert notes[1] == "short: 30 of 30 answers were cut at the limit of new tokens"


def test_other_items_are_refused_with_the_number_shared() -> None:
    fewer = evaluate(Calculator("fewer"), ITEMS[:12])
    with pytest.raises(EvaluationError, match="30 and 12 items, 12 ids shared"):
        compare([BASE, fewer])
    changed = [dataclasses.replace(ITEMS[0], answer="1"), *ITEMS[1:]]
    with pytest.raises(
        EvaluationError, match="not evaluated on the same items: 30 and 30 items, 30 ids shared"
    ):
        compare([BASE, evaluate(Calculator("other"), changed)])
    with pytest.raises(EvaluationError, match="at least two results"):
        compare([BASE])


def test_the_order_of_the_items_does_not_matter() -> None:
    turned = evaluate(Calculator("tuned", "plus", "minus", "times"), ITEMS[::-1])
    assert compare([BASE, turned]) == compare([BASE, TUNED])


def test_the_dict_is_json_with_stable_keys() -> None:
    value = json.loads(json.dumps(compare([BASE, PROMPTED, TUNED]).to_dict()))
    assert list(value) == ["items_hash", "num_items", "alpha", "entries", "pairs", "by_tag", "notes"]
    assert set(value["entries"][0]) == {
        "label",
        "num_passed",
        "num_failed",
        "num_ungradable",
        "accuracy",
        "interval",
        "terminations",
    }
    pair = value["pairs"][0]
    assert pair["verdict"] == "better"
    assert set(pair["interval"]) == {"low", "high", "confidence"}
    assert value["by_tag"]["plus"][1]["accuracy"] == 1.0


def test_the_tables_say_it_all() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render_comparison(compare([BASE, PROMPTED, result("tuned [b]", "plus", "minus", "times")])))
    text = console.export_text()
    for expected in (
        "tuned [b]",
        "base + system prompt",
        "+66.7%",
        "better",
        "10/10 (100%)",
        "30/30",
        "net +20",
    ):
        assert expected in text
