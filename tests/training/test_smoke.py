"""A smoke run's verdict on good rows, on a rate that diverges, and on answers that do not follow from their prompts."""

from pathlib import Path

import numpy as np
import pytest

from luthier.registry.runs import Run, create_run
from luthier.training.smoke import EXIT_CODES, Worth, judge, paired_fall, smoke_steps
from luthier.training.smoke_losses import crossed_rows
from tests.training.toys import random_rows


def run_with(tmp_path: Path, losses: list[float]) -> Run:
    run = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=[])
    for step, loss in enumerate(losses, start=1):
        run.append_metrics(
            {
                "event": "step",
                "step": step,
                "loss": loss,
                "learning_rate": 1e-3,
                "tokens": 100 * step,
                "seconds": float(step),
                "peak_memory_bytes": 10**9,
            }
        )
    return run


FALLING = list(np.linspace(4, 2, 20))
GOOD = paired_fall([4.0, 4.2, 3.9, 4.1], [2.0, 2.1, 2.2, 1.9])
NOISE = paired_fall([4.0, 4.2, 3.9, 4.1], [4.1, 4.0, 4.2, 3.9])


def test_good_rows_are_worth_it(tmp_path: Path) -> None:
    found = judge(run_with(tmp_path, FALLING), GOOD, GOOD, full_steps=200, memory_limit_bytes=10**10)
    assert found.word is Worth.YES and EXIT_CODES[found.word] == 0
    assert found.numbers["full_run_seconds"] == 200.0 and any("it falls" in one for one in found.reasons)


def test_a_rate_that_diverges_is_not(tmp_path: Path) -> None:
    losses = list(np.linspace(4, 9, 20))
    found = judge(
        run_with(tmp_path, losses),
        paired_fall([4.0, 4.1], [9.0, 9.2]),
        None,
        full_steps=200,
        memory_limit_bytes=0,
    )
    assert found.word is Worth.NO and "diverged" in found.reasons[0] and EXIT_CODES[found.word] == 1


def test_answers_that_do_not_follow_cannot_be_told(tmp_path: Path) -> None:
    found = judge(run_with(tmp_path, FALLING), GOOD, NOISE, full_steps=200, memory_limit_bytes=0)
    assert found.word is Worth.UNKNOWN and "makes no difference yet" in found.reasons[0]


def test_without_held_out_rows_nothing_is_said(tmp_path: Path) -> None:
    found = judge(run_with(tmp_path, FALLING), None, None, full_steps=200, memory_limit_bytes=0)
    assert found.word is Worth.UNKNOWN and EXIT_CODES[found.word] == 3


def test_the_noise_is_that_of_paired_rows() -> None:
    from scipy.stats import norm, sem

    before, after = [4.0, 3.0, 5.0], [3.5, 2.9, 4.0]
    found = paired_fall(before, after)
    assert found is not None
    assert found.noise == pytest.approx(norm.ppf(0.975) * sem(np.subtract(before, after)))


@pytest.mark.parametrize(("whole", "small"), [(5, 5), (40, 10), (300, 30), (5000, 100)])
def test_a_tenth_or_a_hundred_steps(whole: int, small: int) -> None:
    assert smoke_steps(whole) == small


def test_crossed_rows_hold_each_answer_behind_another_prompt() -> None:
    rows = random_rows([6, 7, 8])
    rows.weights[:] = 0
    for start, end in zip(rows.offsets, rows.offsets[1:], strict=False):
        rows.weights[start + 4 : end] = 1
    crossed = crossed_rows(rows)
    assert crossed is not None
    for index in range(3):
        ids, weights = crossed.row(index)
        assert list(ids[:4]) == list(rows.row(index - 1 if index else 2)[0][:4])
        assert list(ids[4:]) == list(rows.row(index)[0][4:]) and list(weights[:4]) == [0] * 4
