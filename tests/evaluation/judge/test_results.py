"""Saved results through a judge, labels and plain rows."""

import json
from pathlib import Path

import pytest

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.compare import Evidence, compare
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.item import EvalItem
from luthier.evaluation.judge.agreement import krippendorff_alpha
from luthier.evaluation.judge.answers import read_answers
from luthier.evaluation.judge.asking import JudgeSettings
from luthier.evaluation.judge.labels import Label, load_labels, measure_agreement
from luthier.evaluation.judge.probe import builtin_probe
from luthier.evaluation.judge.replies import Preference
from luthier.evaluation.judge.results import cases_of, judge_result, pair_cases, pair_results
from luthier.evaluation.judge.rubric import default_rubric
from luthier.evaluation.judge.scoring import Case
from luthier.evaluation.runner import EvalResult, EvalSettings, ItemResult, load_result, save_result
from luthier.evaluation.stats import mcnemar_exact
from tests.evaluation.judge.rule_judge import by_merit, data, honest, judge_at, prefers_first, scores
from tests.models.chat_server import Request

RUBRIC = default_rubric()
QUESTIONS = builtin_probe().questions
ITEMS = [EvalItem(q.id, (Message("user", q.question),), q.good) for q in QUESTIONS]


def result(name: str, answers: list[str]) -> EvalResult:
    items = tuple(
        ItemResult(
            id=q.id,
            tags=(),
            prompt=q.question,
            answer=answer,
            num_tokens=3,
            num_prompt_tokens=7,
            termination=Termination.CLEAN,
            grader="exact",
            verdict=VerdictWord.FAILED,
            score=0.0,
            reason="",
            seconds=0.1,
        )
        for q, answer in zip(QUESTIONS, answers, strict=True)
    )
    return EvalResult(name, "plain", None, (), "sha256:same", EvalSettings(8, 8), items, 1.0)


BASE = result("base", [q.bad for q in QUESTIONS])
TUNED = result("tuned", [q.long_good for q in QUESTIONS[:12]] + [q.bad for q in QUESTIONS[12:15]] + [":"])


def test_verdicts_take_the_place_of_the_graders(tmp_path: Path) -> None:
    with judge_at(by_merit(honest)) as (judge, _):
        judged = judge_result(TUNED, RUBRIC, judge, ITEMS)
        base = judge_result(BASE, RUBRIC, judge, ITEMS)
        assert judged.identity == judge.identity(RUBRIC)
    assert judged.result.tally.num_passed == 12 and judged.result.tally.num_failed == 4
    assert judged.result.items[0].score == 1.0 and judged.result.items[0].grader.startswith("judge general ")
    assert "degenerate" in judged.result.items[-1].reason
    (pair,) = compare([base.result, judged.result]).pairs
    assert (pair.wins, pair.losses, pair.verdict) == (12, 0, Evidence.BETTER)
    save_result(judged.result, tmp_path / "judged.jsonl")
    assert load_result(tmp_path / "judged.jsonl") == judged.result
    said = judged.to_dict()
    assert said["outcomes"] == {"judged": 15, "degenerate": 1, "malformed": 0, "too long": 0}
    json.dumps(said)


def test_what_the_judge_could_not_say_is_ungradable() -> None:
    with judge_at(lambda _: "prose") as (judge, _):
        judged = judge_result(TUNED, RUBRIC, judge)
    assert judged.result.tally.num_ungradable == 15 and judged.result.accuracy == 0.0
    assert judged.to_dict()["mean"] is None


def test_the_noise_of_repeats_is_folded_in() -> None:
    def wavers(request: Request) -> str:
        return by_merit(honest)(request) if request["seed"] else scores(True)

    with judge_at(wavers, JudgeSettings(temperature=0.7, repeats=3)) as (judge, _):
        judged = judge_result(TUNED, RUBRIC, judge)
    noise = judged.to_dict()["repeats"]
    asked = [one for one in judged.scored if one.scores]
    assert noise["num_items"] == 15 and noise["num_repeats"] == 3 and 0 < noise["judge_share"] < 1
    assert noise["mean"] == pytest.approx(sum(one.score for one in asked) / 15)
    assert noise["interval"]["low"] < noise["mean"] < noise["interval"]["high"]


def test_pairs_join_the_exact_test() -> None:
    with judge_at(by_merit(honest)) as (judge, _):
        pairs = pair_results(BASE, TUNED, RUBRIC, judge, ITEMS)
        back = pair_results(TUNED, BASE, RUBRIC, judge, ITEMS)
    assert (pairs.wins, pairs.losses, pairs.ties, pairs.num_left_out) == (12, 1, 3, 0)
    assert pairs.p_value == mcnemar_exact(12, 1) and pairs.verdict is Evidence.BETTER
    assert pairs.difference == pytest.approx(11 / 16)
    assert pairs.interval.low < pairs.difference < pairs.interval.high
    assert back.verdict is Evidence.WORSE and (back.wins, back.losses) == (1, 12)
    json.dumps(pairs.to_dict())


def test_a_judge_that_follows_the_order_decides_nothing() -> None:
    with judge_at(prefers_first) as (judge, _):
        pairs = pair_results(BASE, TUNED, RUBRIC, judge)
    assert pairs.verdict is Evidence.NOT_ENOUGH and pairs.num_follow_order == 15


def test_what_does_not_belong_together_is_refused() -> None:
    with judge_at(lambda _: "prose") as (judge, _):
        with pytest.raises(EvaluationError, match="gave no verdict on any of 1 pairs"):
            pair_cases([Case("1", "Q?", "a")], [Case("1", "Q?", "b")], RUBRIC, judge, labels=("a", "b"))
        with pytest.raises(EvaluationError, match="1 ids in both"):
            pair_cases(
                [Case("1", "Q?", "a")],
                [Case("1", "Q?", "b"), Case("2", "Q?", "b")],
                RUBRIC,
                judge,
                labels=("a", "b"),
            )
    with pytest.raises(EvaluationError, match="is not among the items"):
        cases_of(BASE, ITEMS[:3])


def test_items_bring_their_own_words() -> None:
    turns = (Message("system", "Be brief."), Message("user", "Q?"))
    items = [EvalItem(q.id, turns, "gold") for q in QUESTIONS]
    case = cases_of(BASE, items)[0]
    assert case.question == "system: Be brief.\nuser: Q?" and case.reference == "gold"
    assert cases_of(BASE)[0] == Case(QUESTIONS[0].id, QUESTIONS[0].question, QUESTIONS[0].bad)


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_plain_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl", {"question": "Q?", "answer": ""}, {"question": "P?", "answer": "b", "id": 7}
    )
    assert [case.id for case in read_answers(path).cases] == ["1", "7"]
    for broken, why in (
        ({"question": "Q?", "anwser": "a"}, "did you mean 'answer'"),
        ("{", "rows.jsonl:1: broken JSON"),
        ("[1]", "expected a JSON object"),
        ({"question": "", "answer": "a"}, "question"),
        ("", "no rows"),
    ):
        with pytest.raises(EvaluationError, match=why):
            read_answers(write(tmp_path / "rows.jsonl", broken))
    with pytest.raises(EvaluationError, match="more than once"):
        read_answers(
            write(path, {"question": "Q?", "answer": "a", "id": 2}, {"question": "Q?", "answer": "b"})
        )
    with pytest.raises(EvaluationError, match="cannot read"):
        read_answers(tmp_path / "absent.jsonl")
    save_result(BASE, tmp_path / "saved.jsonl")
    assert read_answers(tmp_path / "saved.jsonl").result == BASE


def test_labels_are_checked(tmp_path: Path) -> None:
    good = {"question": "Q?", "answer": "a", "score": [4, 5, 4]}
    assert load_labels(write(tmp_path / "l.jsonl", good))[0].words == (4, 5, 4)
    for broken, why in (
        ({"question": "Q?", "answer": "a"}, "exactly one of"),
        ({"question": "Q?", "answer": "a", "score": 6}, "score"),
        ({"question": "Q?", "answer": "a", "score": 4, "passed": True}, "exactly one of"),
        ({"question": "Q?", "answer": "a", "preferred": "first"}, "beside 'preferred'"),
        ({"question": "Q?", "first": "a", "second": "b", "passed": True}, "expected 'answer'"),
        ({"question": "Q?", "answer": "a", "passed": []}, "exactly one of"),
    ):
        with pytest.raises(EvaluationError, match=rf"(?s)l.jsonl:1.*{why}"):
            load_labels(write(tmp_path / "l.jsonl", broken))


def test_consensus() -> None:
    def said(**words: object) -> object:
        both = {"first": "a", "second": "b"} if "preferred" in words else {"answer": "a"}
        return Label.model_validate({"question": "Q?", **both, **words}).consensus

    assert said(score=[5, 1, 4]) == 4 and said(score=[2, 5]) == 2 and said(score=3) == 3
    assert said(passed=[True, True, False]) is True and said(passed=[True, False]) is None
    assert (
        said(preferred=["first", "second"]) is Preference.TIE
        and said(preferred="second") is Preference.SECOND
    )


def test_agreement_of_each_kind() -> None:
    rows = []
    for q in QUESTIONS:
        rows.append(Label(question=q.question, answer=q.good, score=(5, 5)))
        rows.append(Label(question=q.question, answer=q.bad, score=(1, 2)))
        rows.append(Label(question=q.question, first=q.good, second=q.bad, preferred=Preference.FIRST))
        rows.append(Label(question=q.question, first=q.bad, second=q.good, preferred=Preference.SECOND))

    def rule(request: Request) -> str:
        return by_merit(honest)(request) if data(request) else "prose"

    with judge_at(rule) as (judge, _):
        found = {one.kind: one for one in measure_agreement(judge, rows, RUBRIC)}
    assert set(found) == {"score", "preferred"}
    assert found["preferred"].kappa.value == found["preferred"].alpha == 1.0
    assert found["preferred"].alpha_people is None
    assert found["score"].kappa.num_pairs == 32 and 0.8 < found["score"].kappa.value < 1.0
    scale = (1, 2, 3, 4, 5)
    people, everyone = [(5, 5), (1, 2)] * 16, [(5, 5, 5), (1, 2, 2)] * 16
    assert found["score"].alpha_people == krippendorff_alpha(people, scale, is_ordinal=True)
    assert found["score"].alpha == pytest.approx(krippendorff_alpha(everyone, scale, is_ordinal=True))
