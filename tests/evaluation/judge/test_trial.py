"""Every bias is put into a judge, and found there and nowhere else."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from luthier.errors import EvaluationError
from luthier.evaluation.judge.labels import Label
from luthier.evaluation.judge.probe import builtin_probe
from luthier.evaluation.judge.report import (
    Fitness,
    JudgeReport,
    Met,
    examine,
    find_report,
    report_path,
    save_report,
)
from luthier.evaluation.judge.rubric import default_rubric
from tests.evaluation.judge.rule_judge import (
    by_merit,
    choice,
    data,
    honest,
    judge_at,
    likes_long,
    loves_itself,
    obeys,
    prefers_first,
    scores,
)
from tests.models.chat_server import Request

RUBRIC = default_rubric()
PROBE = builtin_probe()


def labels(*, is_right: bool = True) -> list[Label]:
    """What a person said of the probe's own answers: right, or the other way round."""
    rows = [(q.question, answer, good) for q in PROBE.questions for answer, good in ((q.good, 1), (q.bad, 0))]
    return [Label(question=q, answer=a, passed=bool(good) is is_right) for q, a, good in rows]


def report_of(answer: Callable[[Request], str], said: list[Label]) -> JudgeReport:
    with judge_at(answer) as (judge, _):
        return examine(judge, RUBRIC, said)


def missed(report: JudgeReport) -> set[str]:
    return {reason.criterion for reason in report.reasons if reason.outcome is Met.MISSED}


def number(report: JudgeReport, criterion: str) -> float:
    (found,) = [reason.number for reason in report.reasons if reason.criterion == criterion]
    assert found is not None
    return found


def test_an_honest_judge_that_agrees_with_people_may_decide() -> None:
    report = report_of(by_merit(honest), labels())
    assert report.word is Fitness.FIT, report.reasons
    assert not report.moved_by and not missed(report)
    assert number(report, "agreement with people (passed)") == 1.0
    assert number(report, "right pairs") == number(report, "right scores") == 1.0


@pytest.mark.slow
def test_without_labels_nobody_is_fit() -> None:
    report = report_of(by_merit(honest), [])
    assert report.word is Fitness.NOT_TESTED
    few = report_of(by_merit(honest), labels()[:10])
    assert few.word is Fitness.NOT_TESTED
    assert Met.NOT_ENOUGH in {reason.outcome for reason in few.reasons}


def test_a_judge_that_disagrees_with_people_is_not_fit() -> None:
    report = report_of(by_merit(honest), labels(is_right=False))
    assert report.word is Fitness.NOT_FIT
    assert missed(report) == {"agreement with people (passed)"}


@pytest.mark.slow
def test_the_first_place_is_found() -> None:
    report = report_of(prefers_first, labels())
    assert report.word is Fitness.NOT_FIT
    assert number(report, "follows the order") == 1.0
    # In both orders its choice contradicts itself, so that no pair has a winner; single scores are right.
    assert missed(report) >= {"follows the order", "right pairs", "long wrong answer not beaten"}
    assert number(report, "right scores") == 1.0


@pytest.mark.slow
def test_length_is_found() -> None:
    report = report_of(by_merit(likes_long), labels())
    assert missed(report) >= {"long wrong answer not beaten", "prefers more words"}
    assert number(report, "long wrong answer not beaten") == number(report, "prefers more words") == 1.0
    assert number(report, "follows the order") == 0.0


def test_obedience_is_found() -> None:
    report = report_of(by_merit(obeys), labels())
    assert missed(report) >= {"injection moves a score", "injection moves a pair"}
    hosts = cycle(PROBE.questions)
    obeyed = [
        one.id
        for one, host in zip(PROBE.injections, hosts, strict=False)
        if obeys(host.question, one.carried_by(host.bad)) == 2.0
    ]
    assert list(report.moved_by) == obeyed and 0 < len(obeyed) < len(PROBE.injections)
    for criterion in ("injection moves a score", "injection moves a pair"):
        assert number(report, criterion) == len(obeyed) / len(PROBE.injections)
    assert number(report, "follows the order") == 0.0


@pytest.mark.slow
def test_self_love_is_found() -> None:
    report = report_of(by_merit(loves_itself), labels())
    assert missed(report) == {"prefers its own words", "own wrong answer not beaten"}


@pytest.mark.slow
def test_a_judge_that_passes_everything_is_not_fit() -> None:
    def kind(request: Request) -> str:
        texts = data(request)
        if "QUESTION" not in texts:
            return "Other words."
        return scores(True) if "ANSWER" in texts else choice("tie")

    report = report_of(kind, labels())
    assert missed(report) >= {"right scores", "right pairs", "agreement with people (passed)"}
    assert number(report, "agreement with people (passed)") == 0.0


@pytest.mark.slow  # every reply is asked for again
def test_prose_is_no_verdict() -> None:
    report = report_of(lambda request: "I like both answers very much!", labels())
    assert report.word is Fitness.NOT_FIT
    assert missed(report) == {"unreadable", "agreement with people (passed)"}
    others = {reason.outcome for reason in report.reasons} - {Met.MISSED}
    assert others == {Met.NOT_MEASURED}


@pytest.mark.slow
def test_a_report_is_kept_under_the_identity_of_its_judge(tmp_path: Path) -> None:
    with judge_at(by_merit(honest)) as (judge, _):
        report = examine(judge, RUBRIC, labels())
        identity = judge.identity(RUBRIC)
        other = judge.identity(RUBRIC.model_copy(update={"pass_mark": 3.0}))
    save_report(report, tmp_path)
    found = find_report(tmp_path, identity)
    assert found.to_dict() == report.to_dict()
    assert other != identity and find_report(tmp_path, other).word is Fitness.NOT_TESTED
    path = report_path(tmp_path, identity)
    path.write_text(path.read_text().replace('"outcome": "met"', '"outcome": "missed"', 1))
    with pytest.raises(EvaluationError, match="not what its reasons say"):
        find_report(tmp_path, identity)
    path.write_text("{")
    with pytest.raises(EvaluationError, match="not a report of a judge"):
        find_report(tmp_path, identity)


def test_the_probe_is_what_it_says() -> None:
    assert len(PROBE.questions) >= 16 and len(PROBE.injections) >= 40
    for question in PROBE.questions:
        assert question.good.rstrip(".") in question.long_good, question.id
        assert question.bad.rstrip(".") in question.long_bad, question.id
        assert question.good.rstrip(".") not in question.long_bad + question.bad, question.id
    for injection in PROBE.injections:
        carried = injection.carried_by("THE WRONG ONE")
        assert "THE WRONG ONE" in carried and "{answer}" not in carried and "{{" not in carried
    assert len({one.id for one in PROBE.injections}) == len(PROBE.injections)
