"""Limits on a clock that the test moves: a minute's worth at once, then evenly; a large one leaves a debt."""

import random

import pytest

from luthier.serving.limits import Limits, Meter


class HandClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_requests_come_in_a_burst_and_then_evenly() -> None:
    clock = HandClock()
    meter = Meter(Limits(requests_per_minute=6), clock)
    assert [meter.admit(0).word for _ in range(7)] == ["allowed"] * 6 + ["requests"]
    assert meter.admit(0).retry_after_seconds == pytest.approx(10)
    clock.seconds = 9.99
    assert not meter.admit(0).allowed
    clock.seconds = 10.01
    assert meter.admit(0).allowed and not meter.admit(0).allowed
    clock.seconds = 10_000  # a long pause is worth one minute, not many
    assert [meter.admit(0).allowed for _ in range(7)] == [True] * 6 + [False]


def test_tokens_that_were_not_needed_come_back() -> None:
    clock = HandClock()
    meter = Meter(Limits(tokens_per_minute=600), clock)
    assert meter.admit(500).allowed
    refused = meter.admit(200)
    assert refused.word == "tokens" and refused.retry_after_seconds == pytest.approx(10)
    meter.release(unused_tokens=450)
    assert meter.admit(200).allowed


def test_a_request_above_the_limit_is_answered_once_and_paid_for() -> None:
    clock = HandClock()
    meter = Meter(Limits(tokens_per_minute=60), clock)
    assert meter.admit(180).allowed
    assert meter.admit(1).retry_after_seconds == pytest.approx(121)
    clock.seconds = 121.1
    assert meter.admit(1).allowed


def test_a_refused_request_costs_nothing() -> None:
    clock = HandClock()
    meter = Meter(Limits(requests_per_minute=2, tokens_per_minute=10, concurrent=1), clock)
    assert meter.admit(10).allowed
    assert meter.admit(5).word == "concurrent"
    meter.release()
    assert [meter.admit(5).word for _ in range(50)] == ["tokens"] * 50
    clock.seconds = 30.1
    assert meter.admit(5).allowed and meter.active == 1


def test_no_order_of_requests_gets_more_than_the_rate() -> None:
    for seed in range(20):
        dice, clock = random.Random(seed), HandClock()
        meter, used = Meter(Limits(tokens_per_minute=120), clock), 0
        while clock.seconds < 600:
            clock.seconds += dice.expovariate(1)
            asked = dice.randint(1, 30)
            used += asked if meter.admit(asked).allowed else 0
        assert 0.9 * 1200 < used <= 120 + 2 * clock.seconds


def test_without_limits_everything_goes() -> None:
    meter = Meter(Limits(), HandClock())
    assert all(meter.admit(10**6).allowed for _ in range(1000)) and meter.active == 1000
