"""Traffic: shares as asked for, callers that stay, shadows in their budget, canaries that go, the way back."""

import json
from collections import Counter
from pathlib import Path

import pytest

from luthier.chat.messages import Message
from luthier.errors import LuthierError, ServingError
from luthier.serving.canary import Outcome, Rule
from luthier.serving.traffic import Placement, Rollback, Share, Traffic, conversation_key


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    found = Traffic(tmp_path / "traffic.json")
    found.switch("sql", "sql@3")
    return found


def chosen(traffic: Traffic, num_keys: int = 4000) -> dict[str, str]:
    return {f"key{i}": traffic.choose("sql", f"key{i}")[0].specialist for i in range(num_keys)}


def test_one_version_answers_everybody(traffic: Traffic) -> None:
    assert traffic.choose("sql", "anna") == [Placement("sql@3")]
    assert traffic.choose("other", "anna") == []
    assert traffic.specialists() == {"sql@3"}


def test_shares_are_as_asked_and_callers_stay(traffic: Traffic) -> None:
    traffic.split("sql", {"sql@3": 3, "sql@4": 1})
    first = chosen(traffic)
    assert Counter(first.values())["sql@4"] == pytest.approx(1000, abs=100)
    assert chosen(traffic) == first
    assert Traffic(traffic.path).choose("sql", "key7")[0].specialist == first["key7"]


def test_who_is_on_a_canary_stays_when_it_grows(traffic: Traffic) -> None:
    on_it: set[str] = set()
    for weight in (0.05, 0.2, 0.6):
        traffic.canary("sql", "sql@4", weight)
        now = {key for key, one in chosen(traffic).items() if one == "sql@4"}
        assert on_it <= now and len(now) == pytest.approx(4000 * weight, rel=0.2)
        on_it = now
    assert sum(share.weight for share in traffic.plan("sql").shares) == pytest.approx(1)


def test_a_switch_can_be_rolled_back_again_and_again(traffic: Traffic) -> None:
    traffic.switch("sql", "sql@4")
    assert set(chosen(traffic, 50).values()) == {"sql@4"} and traffic.specialists() == {"sql@3", "sql@4"}
    traffic.switch("sql", "sql@4")  # the same again does not lose the way back
    for expected in ("sql@3", "sql@4", "sql@3"):
        traffic.rollback("sql")
        assert set(chosen(traffic, 50).values()) == {expected}
    traffic.switch("sql", "sql@5")
    assert traffic.specialists() == {"sql@3", "sql@5"}
    traffic.switch("fresh", "fresh@1")
    with pytest.raises(ServingError, match="no way back"):
        traffic.rollback("fresh")


def fail(traffic: Traffic, specialist: str, outcome: Outcome, most: int = 100) -> Rollback | None:
    return next((found for _ in range(most) if (found := traffic.observe(specialist, outcome))), None)


def test_a_bad_canary_is_taken_out_and_stays_out(traffic: Traffic) -> None:
    traffic.canary("sql", "sql@4", 0.2)
    for _ in range(200):
        assert traffic.observe("sql@3", Outcome()) is None
    found = fail(traffic, "sql@4", Outcome("failed"))
    assert found and (found.name, found.specialist, found.back_to) == ("sql", "sql@4", ("sql@3",))
    assert found.alarm.signal == "failed"
    assert traffic.plan("sql").shares == (Share("sql@3", 1.0),) and traffic.specialists() == {"sql@3"}
    assert fail(traffic, "sql@4", Outcome("failed")) is None
    again = Traffic(traffic.path)
    assert again.plan("sql").shares == (Share("sql@3", 1.0),)
    assert again.plan("sql").told.startswith("canary sql@4 was rolled back: failed: ")


def test_a_canary_goes_on_after_a_restart(traffic: Traffic) -> None:
    traffic.canary("sql", "sql@4", 0.2, Rule(signals=("cut",)))
    for n in range(300):
        traffic.observe("sql@3", Outcome(was_cut=n % 10 == 0))
    for n in range(35):
        traffic.observe("sql@4", Outcome(was_cut=n % 10 == 0))
    again = Traffic(traffic.path)
    watch = again.plan("sql").watch
    assert (watch.candidate["cut"].of, watch.rule.signals) == (35, ("cut",)) and watch.baseline[
        "cut"
    ].of == 300
    assert fail(again, "sql@4", Outcome(was_cut=True)) is not None
    traffic.canary("sql", "sql@4", 0.5)
    assert traffic.plan("sql").watch.candidate["cut"].of == 35  # a larger share goes on counting


def test_a_good_canary_is_switched_to(traffic: Traffic) -> None:
    traffic.canary("sql", "sql@4", 0.2)
    for _ in range(500):
        assert (
            traffic.observe("sql@3", Outcome(seconds=1))
            is traffic.observe("sql@4", Outcome(seconds=1))
            is None
        )
        assert traffic.observe_thumb("sql@4", 1) is None
    traffic.switch("sql", "sql@4")
    traffic.rollback("sql")
    assert {share.specialist for share in traffic.plan("sql").shares} == {"sql@3", "sql@4"}


def test_a_canary_among_several_leaves_the_others_as_they_were(traffic: Traffic) -> None:
    traffic.split("sql", {"sql@1": 1, "sql@2": 3})
    traffic.canary("sql", "sql@4", 0.5)
    assert traffic.plan("sql").shares == (Share("sql@4", 0.5), Share("sql@1", 0.125), Share("sql@2", 0.375))
    for _ in range(100):
        traffic.observe("sql@1", Outcome())
    assert fail(traffic, "sql@4", Outcome("refused"))
    assert traffic.plan("sql").shares == (Share("sql@1", 0.25), Share("sql@2", 0.75))


def test_a_shadow_answers_its_share_within_its_budget(tmp_path: Path) -> None:
    seconds, throws = [0.0], iter([0.4, 0.6] * 10_000)
    traffic = Traffic(tmp_path / "t.json", clock=lambda: seconds[0], dice=lambda: next(throws))
    traffic.switch("sql", "sql@3")
    traffic.shadow("sql", "sql@4", 0.5, 6)
    shadows = 0
    for _ in range(600):
        seconds[0] += 0.5
        placements = traffic.choose("sql", "anna")
        assert placements[0] == Placement("sql@3")
        assert placements[1:] in ([], [Placement("sql@4", "shadow")])
        shadows += len(placements) - 1
    assert shadows == pytest.approx(6 + 300 / 10, abs=1)
    traffic.switch("sql", "sql@4")  # it answers now: no more unseen
    assert traffic.choose("sql", "anna") == [Placement("sql@4")] and traffic.plan("sql").shadow is None


def test_the_end_of_a_shadow_and_of_a_name(traffic: Traffic) -> None:
    traffic.shadow("sql", "sql@4", 1, 1000)
    assert len(traffic.choose("sql", "anna")) == 2
    traffic.end_shadow("sql")
    assert len(traffic.choose("sql", "anna")) == 1
    traffic.remove("sql")
    assert traffic.names() == [] == Traffic(traffic.path).names()
    with pytest.raises(ServingError, match="'sql' is not served; there are: none"):
        traffic.remove("sql")


def test_what_cannot_be_is_refused_and_changes_nothing(traffic: Traffic) -> None:
    assert traffic.path
    before = traffic.path.read_bytes()
    wrong = [
        lambda: traffic.switch("sql", "sql"),
        lambda: traffic.switch("sql", "sql@production"),
        lambda: traffic.switch("../sql", "sql@3"),
        lambda: traffic.split("sql", {}),
        lambda: traffic.split("sql", {"sql@3": 0.0}),
        lambda: traffic.split("sql", {"sql@3": float("inf")}),
        lambda: traffic.split("sql", {"sql@3": float("nan"), "sql@4": 1.0}),
        lambda: traffic.canary("sql", "sql@4", 1.0),
        lambda: traffic.canary("sql", "sql@3", 0.1),
        lambda: traffic.canary("new", "new@1", 0.1),
        lambda: traffic.shadow("sql", "sql@4", 0.0, 10),
        lambda: traffic.shadow("sql", "sql@4", 0.5, 0),
    ]
    for change in wrong:
        with pytest.raises(LuthierError):
            change()
    assert traffic.path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2, "plans": {}}', '{"format": 1, "plans": {"a": {}}}']
)
def test_a_state_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ServingError, match=r"t\.json: cannot be used"):
        Traffic(tmp_path / "t.json")


def test_the_state_is_plain_json(traffic: Traffic) -> None:
    traffic.canary("sql", "sql@4", 0.25)
    assert traffic.path
    plan = json.loads(traffic.path.read_text())["plans"]["sql"]
    assert plan["shares"] == [
        {"specialist": "sql@4", "weight": 0.25},
        {"specialist": "sql@3", "weight": 0.75},
    ]


def test_a_conversation_keeps_its_key() -> None:
    first = [Message("system", "Be kind."), Message("user", "Hello")]
    longer = [*first, Message("assistant", "Hi"), Message("user", "And now?")]
    assert conversation_key(first) == conversation_key(longer)
    assert conversation_key(first) != conversation_key([Message("user", "Hello")])
    assert conversation_key([Message("system", "Be kind.")]) and conversation_key([])
