"""Schedules: their form for any run, and transformers' own beside them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import optimization

from luthier.training.schedules import SHAPES, build_schedule
from tests.training.toys import optim_config


@given(
    num_steps=st.integers(1, 300),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
    decay=st.floats(0, 1),
    schedule=st.sampled_from(sorted(SHAPES)),
)
def test_the_schedule_warms_up_from_above_zero_and_ends_at_its_share(
    num_steps: int, warmup: float, final: float, decay: float, schedule: Any
) -> None:
    config = optim_config(schedule=schedule, warmup_share=warmup, final_share=final, decay_share=decay)
    factors = [build_schedule(config, num_steps)(step) for step in range(num_steps)]
    peak = min(math.ceil(warmup * num_steps), num_steps - 1)
    assert all(0 <= factor <= 1 for factor in factors) and factors[0] > 0
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    rising = schedule in ("constant", "cosine_restarts")
    assert rising or factors[peak:] == sorted(factors[peak:], reverse=True)
    if math.ceil(warmup * num_steps) < num_steps:
        assert factors[peak] == pytest.approx(1.0)
        end = build_schedule(config, num_steps)(num_steps)
        stays = schedule == "constant" or (schedule == "wsd" and decay == 0)
        assert end == pytest.approx(1.0 if stays else final)


def of_transformers(make: Any, num_steps: int, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, **options)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make", "mine", "theirs"),
    [
        ("cosine", optimization.get_cosine_schedule_with_warmup, {}, {}),
        ("linear", optimization.get_linear_schedule_with_warmup, {}, {}),
        (
            "cosine_restarts",
            optimization.get_cosine_with_hard_restarts_schedule_with_warmup,
            {"num_cycles": 4},
            {"num_cycles": 4},
        ),
        (
            "polynomial",
            optimization.get_polynomial_decay_schedule_with_warmup,
            {"power": 1.5, "final_share": 0.1},
            {"power": 1.5, "lr_end": 0.1},
        ),
        (
            "wsd",
            optimization.get_wsd_schedule,
            {"decay_share": 0.25, "final_share": 0.1},
            {"num_decay_steps": 20, "decay_type": "1-sqrt", "min_lr_ratio": 0.1},
        ),
    ],
)
def test_after_the_warm_up_it_is_that_of_transformers(
    schedule: str, make: Any, mine: Any, theirs: Any
) -> None:
    """Theirs starts the warm-up at 0, ours one step on; behind it they are one."""
    settings = {"warmup_share": 0.2, "final_share": 0.0, **mine}
    config = optim_config(schedule=schedule, **settings)
    factor = build_schedule(config, 100)
    expected = of_transformers(make, 100, num_warmup_steps=20, num_training_steps=100, **theirs)
    assert [factor(step) for step in range(20, 100)] == pytest.approx(expected[20:], abs=1e-9)
