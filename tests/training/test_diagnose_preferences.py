"""Curves of preferences get their names: constructed ones, and a real run without a preference to learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.config import Layer
from luthier.registry.runs import create_run
from luthier.training.diagnose import Curve, diagnose, diagnose_run
from luthier.training.diagnose_preferences import displaced_likelihood, no_preference, runaway_margin
from luthier.training.job import run_job
from luthier.training.plan import plan_job
from luthier.training.tracking import MetricsFile
from tests.training.test_preference_job import write
from tests.training.toys import model_folder


def rising(start: float, end: float, count: int = 50) -> list[float]:
    return [start + (end - start) * i / (count - 1) for i in range(count)]


def events(losses: Sequence[float], metrics: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    return [
        {"event": "step", "step": i + 1, "loss": loss, "metrics": {k: v[i] for k, v in metrics.items()}}
        for i, loss in enumerate(losses)
    ]


GOOD = {
    "reward_accuracy": rising(0.5, 0.9),
    "reward_margin": rising(0, 2),
    "logp_chosen": rising(-1.0, -0.9),
    "logp_rejected": rising(-1.0, -1.6),
}
FALLING = rising(0.69, 0.2)


@pytest.mark.parametrize(
    ("changed", "word", "said"),
    [
        ({"reward_accuracy": [0.5, 0.52] * 25}, Curve.NO_PREFERENCE, "51% of the pairs at the end"),
        ({"reward_margin": rising(0, 40)}, Curve.RUNAWAY, "grew from"),
        (
            {"logp_chosen": rising(-1, -3), "logp_rejected": rising(-1, -9)},
            Curve.DISPLACED,
            "fell from -1.18 to -2.82",
        ),
    ],
)
def test_constructed_curves(changed: dict[str, list[float]], word: Curve, said: str) -> None:
    found = diagnose(events(FALLING, GOOD | changed))
    assert found.word is word and said in found.why and found.advice


def test_good_ones_are_not_named() -> None:
    found = diagnose(events(FALLING, GOOD))
    assert found.word not in (Curve.NO_PREFERENCE, Curve.RUNAWAY, Curve.DISPLACED)
    for rule in (no_preference, runaway_margin, displaced_likelihood):
        assert rule(GOOD) is None and rule({}) is None
        assert rule({name: values[:5] for name, values in GOOD.items()}) is None
    # Decided pairs that stand still, and answers that win by little but surely.
    assert runaway_margin({"reward_margin": [12.0] * 50}) is None
    assert no_preference({"reward_accuracy": [0.7] * 50}) is None


def test_a_real_run_on_pairs_that_contradict_each_other(tmp_path: Path) -> None:
    model_folder(tmp_path / "base")
    answers = [("Yes, it is.", "No."), ("No.", "Yes, it is.")]
    pairs = [
        {"prompt": f"Is it {n} today?", "chosen": chosen, "rejected": rejected}
        for n in range(4)
        for chosen, rejected in answers
    ]
    values: dict[str, Any] = {
        "model": str(tmp_path / "base"),
        "objective": "dpo",
        "method": "full",
        "data": write(tmp_path / "rows.jsonl", pairs),
        "train": {"batch_size": 8, "epochs": 25, "dtype": "float32", "device": "cpu"},
        "optim": {"learning_rate": 1e-4},
    }
    plan = plan_job([Layer("test", values)])
    made = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=plan.data_manifest)
    run_job(plan, made, tracker=MetricsFile(made))
    found = diagnose_run(made)
    assert found.word is Curve.NO_PREFERENCE, found
    assert found.rows is not None and found.rows.num_rows == 8
