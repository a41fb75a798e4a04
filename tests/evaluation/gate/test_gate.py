"""The gate against models that would like to fool it: each gets the right word, and the reason that carries it."""

import dataclasses
import json
from pathlib import Path

import pytest

from luthier.evaluation.gate import (
    GateVerdict,
    Judgement,
    LeakReport,
    Outcome,
    Policy,
    Reason,
    RoutingReport,
    Word,
    evaluate_gate,
)
from luthier.evaluation.gate.evidence import EXIT_CODES
from luthier.evaluation.gate.judged import judge_domain
from luthier.evaluation.gate.screen import render_page, summary
from luthier.evaluation.judge.report import Fitness, JudgeReport, Met, save_report
from luthier.evaluation.judge.report import Reason as JudgeReason
from luthier.evaluation.judge.rubric import default_rubric
from tests.evaluation.gate.answerers import (
    CLEAN,
    DOMAIN,
    GENERAL,
    GOLDEN,
    HELP,
    Scripted,
    evidence,
    golds,
    questions,
)
from tests.evaluation.judge.rule_judge import choice, data, judge_at
from tests.models.chat_server import Request

MET = JudgeReason("right pairs", Met.MET, 1.0, "all")
GENERAL_KNOWN = golds(GENERAL)
BASE = Scripted("base", GENERAL_KNOWN)
CHAMPION = Scripted("champion", {**golds(DOMAIN, 0.5), **golds(GOLDEN), **GENERAL_KNOWN})
BETTER = Scripted("better", {**golds(DOMAIN, 0.9), **golds(GOLDEN), **GENERAL_KNOWN})


def decide(
    candidate: Scripted, champion: Scripted = CHAMPION, policy: Policy | None = None, **given
) -> GateVerdict:  # type: ignore[no-untyped-def]
    return evaluate_gate(evidence(candidate, champion, given.pop("base", BASE), **given), policy or Policy())


def reason(verdict: GateVerdict, criterion: str) -> Reason:
    (found,) = [one for one in verdict.reasons if one.criterion == criterion]
    return found


def test_a_truly_better_one_ships() -> None:
    verdict = decide(BETTER)
    assert verdict.word is Word.SHIP and verdict.exit_code == 0
    assert {one.outcome for one in verdict.reasons} == {Outcome.MET}
    gain = reason(verdict, "domain")
    assert gain.number == pytest.approx(0.4) and "40 won, 0 lost of 100" in gain.text
    assert summary(verdict) == "ship: 9 of 9 criteria met, none against it"


def test_an_identical_copy_has_nothing_to_gain() -> None:
    verdict = decide(Scripted("copy", CHAMPION.known), weights=("same", "same"))
    assert verdict.word is Word.NOT_ENOUGH and verdict.exit_code == 5
    assert "same weights with the same prompt" in reason(verdict, "domain").text
    renamed = decide(Scripted("copy", CHAMPION.known))
    assert (
        renamed.word is Word.NOT_ENOUGH
        and "none of 100 answers changed sides" in reason(renamed, "domain").text
    )


def test_a_constant_answer_is_rejected_even_where_it_wins() -> None:
    assert decide(Scripted("constant", {}, "4")).word is Word.REJECT
    lopsided = tuple(dataclasses.replace(one, answer="7") for one in questions(100))
    verdict = decide(Scripted("constant", {**golds(GOLDEN), **GENERAL_KNOWN}, "7"), domain=lopsided)
    assert reason(verdict, "domain").outcome is Outcome.MET
    assert verdict.word is Word.REJECT and reason(verdict, "same_answer").asks_for is Word.REJECT


def test_one_that_always_refuses_is_rejected() -> None:
    verdict = decide(Scripted("careful", {}, "I'm sorry, but I can't help with that."))
    assert verdict.word is Word.REJECT and verdict.exit_code == 4
    assert reason(verdict, "over_refusal").number == 1.0
    assert reason(verdict, "over_refusal").asks_for is Word.REJECT


def test_silence_is_no_help_either() -> None:
    assert reason(decide(Scripted("silent", BETTER.known, "")), "over_refusal").number == 1.0


def test_a_parrot_of_the_training_rows_gains_nothing_on_unseen_items() -> None:
    train = questions(100, "length")
    verdict = decide(Scripted("parrot", {**golds(train), **golds(GOLDEN), **GENERAL_KNOWN}))
    assert verdict.word is Word.REJECT and "worse than the champion" in reason(verdict, "domain").text


def test_a_parrot_is_held_where_the_items_leaked_into_training() -> None:
    leaked = LeakReport(180, 90, 3, ("train.jsonl",))
    verdict = decide(BETTER, leaks=leaked)
    assert verdict.word is Word.HOLD and verdict.exit_code == 3
    assert "90 of 180 items are asked in training too" in reason(verdict, "leaks").text
    near = decide(BETTER, leaks=LeakReport(180, 0, 3, ()))
    assert near.word is Word.HOLD and decide(BETTER, leaks=LeakReport(180, 0, 1, ())).word is Word.SHIP


@pytest.mark.parametrize(("kept", "word"), [(0.95, Word.SHIP), (0.85, Word.HOLD), (0.5, Word.REJECT)])
def test_a_better_one_that_forgot(kept: float, word: Word) -> None:
    forgetful = Scripted("forgetful", {**golds(DOMAIN), **golds(GOLDEN), **golds(GENERAL, kept)})
    verdict = decide(forgetful)
    assert verdict.word is word
    assert reason(verdict, "forgetting").number == pytest.approx(1 - kept, abs=0.02)


def test_a_base_that_knows_next_to_nothing_cannot_forget_measurably() -> None:
    weak = Scripted("weak base", golds(GENERAL, 0.08))
    verdict = decide(BETTER, base=weak)
    forgot = reason(verdict, "forgetting")
    assert forgot.outcome is Outcome.NOT_MEASURED and "the base passes" in forgot.text
    assert verdict.word is Word.HOLD, "what is required and not measured is never shipped in silence"
    relaxed = Policy.model_validate({"forgetting": {"required": False}})
    assert decide(BETTER, base=weak, policy=relaxed).word is Word.SHIP
    assert relaxed.forgetting.at_most == 0.1, "one key of a section leaves the others"


def test_too_few_items_say_how_many_are_needed() -> None:
    few = questions(12)
    champion = Scripted("champion", {**golds(few, 0.5), **golds(GOLDEN), **GENERAL_KNOWN})
    candidate = Scripted("better", {**golds(few, 0.75), **golds(GOLDEN), **GENERAL_KNOWN})
    verdict = decide(candidate, champion, domain=few)
    gain = reason(verdict, "domain")
    assert verdict.word is Word.NOT_ENOUGH and "3 won, 0 lost of 12" in gain.text
    assert "needs 3" in gain.text, gain.text  # thirty-odd: a gap of 25 points with nothing lost
    few_golden = decide(BETTER, golden=GOLDEN[:20])
    assert few_golden.word is Word.NOT_ENOUGH
    assert "with the same shares 52 items would show it" in reason(few_golden, "golden").text


def test_items_of_one_source_are_no_independent_evidence() -> None:
    few = tuple(dataclasses.replace(one, source=f"document {n % 4}") for n, one in enumerate(questions(100)))
    verdict = decide(BETTER, domain=few)
    gain = reason(verdict, "domain")
    assert "of 100 from 4 sources" in gain.text and "use items of more sources" in gain.text
    assert verdict.word is Word.NOT_ENOUGH, "40 won and none lost, but four documents are four coins"
    golden = tuple(dataclasses.replace(one, source=f"table {n % 4}") for n, one in enumerate(GOLDEN))
    assert reason(decide(BETTER, golden=golden), "golden").outcome is Outcome.NOT_ENOUGH


def test_a_worse_golden_set() -> None:
    def losing(share: float) -> GateVerdict:
        return decide(Scripted("better", {**golds(DOMAIN), **golds(GOLDEN, share), **GENERAL_KNOWN}))

    assert losing(0.6).word is Word.REJECT
    slightly = losing(0.95)
    assert slightly.word is Word.HOLD and "cannot be ruled out" in reason(slightly, "golden").text


def test_nothing_that_is_required_may_be_missing() -> None:
    for given, criterion in (
        ({"golden": ()}, "golden"),
        ({"base": None}, "forgetting"),
        ({"leaks": "nothing is known"}, "leaks"),
    ):
        verdict = decide(BETTER, **given)
        assert verdict.word is Word.HOLD and reason(verdict, criterion).outcome is Outcome.NOT_MEASURED
        lenient = Policy.model_validate({criterion: {"required": False}})
        assert decide(BETTER, policy=lenient, **given).word is Word.SHIP


def test_answers_that_do_not_end() -> None:
    known = {**golds(DOMAIN), **golds(GOLDEN), **GENERAL_KNOWN}
    assert decide(Scripted("some cut", known, cut=9)).word is Word.SHIP
    over = decide(Scripted("more cut", known, cut=12))
    assert over.word is Word.HOLD and "(12 length)" in reason(over, "format").text
    assert decide(Scripted("all cut", known, cut=90)).word is Word.REJECT
    strict = Policy.model_validate({"format": {"confidence": 0.95}})
    shown = reason(decide(Scripted("some cut", known, cut=8), policy=strict), "format")
    assert shown.outcome is Outcome.NOT_ENOUGH and "items with the same share would do" in shown.text


def test_an_evaluation_set_that_changed_is_held() -> None:
    first = evidence(BETTER, CHAMPION, BASE)
    (domain,) = first.of("domain")
    assert decide(BETTER, before=domain.hash).word is Word.SHIP
    changed = decide(BETTER, before="sha256:" + "0" * 64)
    assert changed.word is Word.HOLD and "domain.jsonl was 000000000000" in reason(changed, "untouched").text


def test_a_margin_asks_for_more_than_better() -> None:
    def margin(points: float) -> GateVerdict:
        return decide(BETTER, policy=Policy.model_validate({"domain": {"margin": points}}))

    assert margin(0.2).word is Word.SHIP
    assert (
        margin(0.35).word is Word.NOT_ENOUGH and "items would show it" in reason(margin(0.35), "domain").text
    )
    assert margin(0.8).word is Word.HOLD


def test_latency_is_measured_one_question_at_a_time_and_held_over_the_budget() -> None:
    def timed(budget: float, **given: int) -> GateVerdict:
        return decide(BETTER, policy=Policy.model_validate({"latency": {"p95_seconds": budget}}), **given)

    assert timed(0.01, num_timed=20).word is Word.SHIP
    slow = timed(0.001, num_timed=20)
    assert slow.word is Word.HOLD
    assert "95% of 20 answers, one question at a time, take at most 0.01 s" in reason(slow, "latency").text
    assert reason(timed(1.0), "latency").outcome is Outcome.NOT_MEASURED


JUDGED = {
    "judge": {"model": "http://localhost:1/v1#j"},
    "judged": [{"criterion": "tone"}, {"criterion": "depth", "require": "better"}],
}


def test_only_a_judge_that_is_fit_decides() -> None:
    policy, found = Policy.model_validate(JUDGED), evidence(BETTER, CHAMPION, BASE)
    fit = Judgement("j", "sha256:1", Fitness.FIT, wins=30, losses=2, ties=40)

    def with_judges(**judged: Judgement) -> GateVerdict:
        return evaluate_gate(dataclasses.replace(found, judged=judged), policy)

    assert with_judges(tone=fit, depth=fit).word is Word.SHIP
    for word in (Fitness.NOT_TESTED, Fitness.NOT_FIT):
        unfit = with_judges(tone=fit, depth=dataclasses.replace(fit, word=word))
        assert unfit.word is Word.HOLD and f"is {word.value}" in reason(unfit, "judged: depth").text
    assert with_judges(tone=fit).word is Word.HOLD
    silent = with_judges(tone=dataclasses.replace(fit, num_left_out=9), depth=fit)
    assert "no verdict on 9 of 81 pairs" in reason(silent, "judged: tone").text and silent.word is Word.HOLD
    lost = dataclasses.replace(fit, wins=2, losses=30)
    assert with_judges(tone=lost, depth=fit).word is Word.REJECT


@pytest.mark.parametrize("is_tested", [True, False])
def test_a_real_judge_is_asked_only_where_its_own_report_says_that_it_is_fit(
    tmp_path: Path, is_tested: bool
) -> None:
    rubric, few = default_rubric(), DOMAIN[85:95]  # of which the better one knows five, the champion none
    found = evidence(BETTER, CHAMPION, domain=few, golden=())

    def by_number(request: Request) -> str:
        texts = data(request)
        first, second = ("take what you need" not in texts[key].lower() for key in ("FIRST", "SECOND"))
        return choice("tie" if first == second else "first" if first else "second")

    with judge_at(by_number) as (judge, asked):
        if is_tested:
            save_report(JudgeReport(Fitness.FIT, judge.identity(rubric), {}, (MET,)), tmp_path)
        says = judge_domain(judge, {"depth": rubric}, found.sets, {"domain.jsonl": few}, tmp_path)["depth"]
    if is_tested:
        assert (says.wins, says.losses, says.ties, says.num_left_out) == (5, 0, 5, 0) and len(asked) >= 10
    else:
        assert says.word is Fitness.NOT_TESTED and says.num_decided == 0 and not asked


def test_a_task_that_grades_otherwise_is_another_set() -> None:
    (domain,) = evidence(BETTER, CHAMPION, BASE).of("domain")
    lenient = dataclasses.replace(domain, rules_hash="sha256:other")
    assert domain.hash == domain.candidate.items_hash != lenient.hash


def test_the_verdict_is_stable_json_and_names_every_hash() -> None:
    first, again = decide(BETTER).to_dict(), decide(BETTER).to_dict()
    assert first == again == json.loads(json.dumps(first))
    assert list(first) == [
        "format", "word", "reasons", "warnings", "candidate", "champion", "base", "sets", "policy", "policy_hash",
        "asked_with",
    ]  # fmt: skip
    assert [one["role"] for one in first["sets"]] == ["domain", "golden", "general", "ordinary"]
    assert all(one["hash"].startswith("sha256:") for one in first["sets"])
    assert first["policy_hash"] == Policy().hash != Policy(confidence=0.9).hash
    assert set(EXIT_CODES.values()) == {0, 3, 4, 5}


def test_the_page_shows_texts_and_never_runs_them() -> None:
    hostile = Scripted("<script>alert(1)</script>", {**BETTER.known}, f"<b>{HELP}</b>")
    page = render_page(decide(hostile, leaks=CLEAN))
    assert "<script" not in page and "&lt;script&gt;" in page and 'class="word good">ship' in page


def test_a_specialist_that_takes_others_questions_is_held() -> None:
    measured = evidence(BETTER, CHAMPION, BASE)
    harm = ("cooking: 98.0% of its questions found it before, 61.0% now",)
    held = evaluate_gate(dataclasses.replace(measured, routing=RoutingReport(200, harm)), Policy())
    assert held.word is Word.HOLD and reason(held, "routing").text == harm[0]
    fine = evaluate_gate(dataclasses.replace(measured, routing=RoutingReport(200, ())), Policy())
    assert fine.word is Word.SHIP and reason(fine, "routing").outcome is Outcome.MET
    assert "routing" not in {one.criterion for one in evaluate_gate(measured, Policy()).reasons}
    required = Policy.model_validate({"routing": {"required": True}})
    assert evaluate_gate(measured, required).word is Word.HOLD
