"""The canary's rule: its test is scipy's, it is seldom wrong where nothing is worse, and quick where something is."""

import random
from dataclasses import replace

import pytest
from scipy.stats import fisher_exact

from luthier.errors import ServingError
from luthier.serving.canary import NUM_REFERENCE, Alarm, Outcome, Rule, Tally, Watch, fisher_p, look_number

CUT = Outcome(was_cut=True)


def test_the_test_is_fishers() -> None:
    dice = random.Random(0)
    for _ in range(300):
        of, other = dice.randint(1, 400), dice.randint(0, 4000)
        one, two = Tally(dice.randint(0, of), of), Tally(dice.randint(0, other), other)
        table = [[one.yes, one.of - one.yes], [two.yes, two.of - two.yes]]
        expected = fisher_exact(table, alternative="greater").pvalue if other else 1.0
        assert fisher_p(one, two) == pytest.approx(expected, rel=1e-6, abs=1e-12), (one, two)


def test_the_bounds_of_all_looks_and_signals_sum_to_alpha() -> None:
    looks = [look for look in map(look_number, range(100_000)) if look is not None]
    assert looks == list(range(1, len(looks) + 1)) and 35 < len(looks) < 50
    assert sum(1 / (k * (k + 1)) for k in looks) < 1
    assert [n for n in range(40) if look_number(n)] == [8, 10, 13, 17, 22, 28, 35]


def first_alarm(
    dice: random.Random, base: float, candidate: float, share: float, num_answers: int
) -> tuple[int, Alarm | None]:
    """(answers of the candidate, the alarm) of one canary whose answers are cut with these probabilities."""
    watch, seen = Watch(), 0
    for _ in range(num_answers):
        on_it = dice.random() < share
        seen += on_it
        bad = dice.random() < (candidate if on_it else base)
        if alarm := watch.count(CUT if bad else Outcome(), is_candidate=on_it):
            return seen, alarm
    return seen, None


def test_seldom_wrong_where_nothing_is_worse() -> None:
    for seed, base in enumerate((0.01, 0.1, 0.5)):
        dice = random.Random(seed)
        wrong = sum(first_alarm(dice, base, base, 0.3, 600)[1] is not None for _ in range(60))
        assert wrong <= 1, base  # expected: at most 60 x 0.01 / 5 = 0.12


def test_quick_where_the_candidate_is_worse() -> None:
    dice = random.Random(1)
    for candidate, most in ((1.0, 22), (0.5, 60), (0.2, 400)):
        found = [first_alarm(dice, 0.02, candidate, 0.2, 10_000) for _ in range(10)]
        assert all(alarm and alarm.signal == "cut" for _, alarm in found)
        assert sorted(seen for seen, _ in found)[5] <= most, candidate


@pytest.mark.parametrize(
    ("signal", "good", "bad"),
    [
        ("failed", Outcome(), Outcome("failed")),
        ("refused", Outcome(), Outcome("refused")),
        ("cut", Outcome(), CUT),
        ("slow", Outcome(seconds=1.0), Outcome(seconds=2.1)),
    ],
)
def test_every_signal_alarms_alone(signal: str, good: Outcome, bad: Outcome) -> None:
    watch = Watch()
    for _ in range(4 * NUM_REFERENCE):
        assert watch.count(good, is_candidate=False) is None
    found = [alarm for _ in range(30) if (alarm := watch.count(bad, is_candidate=True))]
    assert found[0].signal == signal and found[0].p <= found[0].bound
    assert found[0].why.startswith(f"{signal}: ") and "100.0%" in found[0].why
    quiet = replace(watch, rule=Rule(signals=tuple({"failed", "cut", "disliked"} - {signal})))
    assert not any(quiet.count(bad, is_candidate=True) for _ in range(100))


def test_thumbs_down_alarm_too() -> None:
    watch = Watch()
    for _ in range(100):
        watch.count_thumb(1, is_candidate=False)
    alarms = [watch.count_thumb(-1, is_candidate=True) for _ in range(13)]
    assert [alarm.signal for alarm in alarms if alarm] == ["disliked"] * len([a for a in alarms if a]) != []


def test_what_is_no_worse_than_the_margin_or_was_cancelled_counts_for_nothing() -> None:
    watch = Watch(Rule(margin=0.2))
    for n in range(5000):
        assert watch.count(CUT if n % 20 == 0 else Outcome(), is_candidate=False) is None
        assert (
            watch.count(CUT if n % 5 == 0 else Outcome(), is_candidate=True) is None
        )  # 20% against 5%: sure, small
        assert watch.count(Outcome("cancelled"), is_candidate=True) is None
    assert watch.candidate["failed"].of == 5000
    assert Watch().count(Outcome("failed"), is_candidate=True) is None


def test_without_a_baseline_nothing_is_worse() -> None:
    watch = Watch()
    assert not any(watch.count(Outcome("failed"), is_candidate=True) for _ in range(1000))


def test_counts_survive_as_json() -> None:
    import json

    watch = Watch(Rule(alpha=0.05, signals=("cut",)))
    for _ in range(60):
        watch.count(Outcome(was_cut=True, seconds=0.5), is_candidate=False)
    watch.count(Outcome(), is_candidate=True)
    assert Watch.from_dict(json.loads(json.dumps(watch.to_dict()))) == watch and watch.slow_seconds == 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 0}, {"alpha": float("nan")}, {"margin": 1}, {"latency_ratio": 0.5}, {"signals": ("cuts",)}],
)
def test_a_rule_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ServingError, match="expected"):
        Rule(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_false_alarm_rate_by_simulation() -> None:
    dice = random.Random(7)
    rates = {}
    for base in (0.01, 0.05, 0.2, 0.5):
        rates[base] = sum(first_alarm(dice, base, base, 0.1, 5000)[1] is not None for _ in range(500)) / 500
    assert max(rates.values()) <= 0.01, rates
