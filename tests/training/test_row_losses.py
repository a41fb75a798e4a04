"""The loss of each row over time: the same as each row alone, forests and padding, resumed, and what it says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.data.batches import microbatches
from luthier.data.forest import forests
from luthier.training.loop import forward_backward
from luthier.training.objectives import OBJECTIVES, make_objective
from luthier.training.row_findings import find_rows
from luthier.training.row_history import FILE, RowHistory, read_row_losses
from luthier.training.row_losses import RowLosses
from tests.training.pairs import DPO, plain_rows, random_units
from tests.training.test_preferences import EXACT, exact_model, learner_of
from tests.training.toys import dropout_model, random_rows, run_loop


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("cut", [forests, microbatches])
@pytest.mark.parametrize("budget", [1, 30, 10_000])
def test_the_losses_are_those_of_each_row_alone(cut: Any, budget: int, tmp_path: Path) -> None:
    from dataclasses import replace

    dataset = replace(random_units(weighted=True), units=None)
    model = exact_model()
    sums, weights, _ = plain_rows(model, random_units(weighted=True))
    expected = (-sums / weights).detach().numpy()
    batches = cut(dataset, range(dataset.num_rows), budget)
    rows = RowLosses(tmp_path / FILE)
    parameters = list(model.parameters())
    forward_backward(learner_of(model, cut), OBJECTIVES["sft"], batches, parameters, EXACT, row_losses=rows)
    rows.step(3, 0.5)
    found = {record["row"]: record for record in written(rows.path)}
    assert sorted(found) == list(range(dataset.num_rows))
    for index, record in found.items():
        assert record["loss"] == pytest.approx(expected[index], rel=1e-4)
        assert (record["step"], record["epoch"], record["place"]) == (3, 0.5, f"rows:{index + 1}")
        assert record["tokens"] == np.count_nonzero(dataset.row(index)[1])


def test_pairs_have_the_loss_of_their_unit_under_its_first_row(tmp_path: Path) -> None:
    dataset = random_units()
    model = exact_model()
    sums, _, old = (one.detach() for one in plain_rows(model, dataset))
    ratio = 0.3 * (sums - old)
    expected = -torch.nn.functional.logsigmoid(ratio[0::2] - ratio[1::2]).numpy()
    batches = forests(dataset, range(dataset.num_rows), 40)
    rows = RowLosses(tmp_path / FILE)
    parameters = list(model.parameters())
    forward_backward(
        learner_of(model, forests), make_objective(DPO), batches, parameters, EXACT, row_losses=rows
    )
    rows.step(1, 1.0)
    found = {record["row"]: record["loss"] for record in written(rows.path)}
    assert sorted(found) == list(range(0, dataset.num_rows, 2))
    np.testing.assert_allclose([found[row] for row in sorted(found)], expected, rtol=1e-4)


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / FILE
    run_loop(tmp_path / "a", dropout_model(), row_losses=RowLosses(path))
    whole = written(path)
    assert len(whole) == 4 + 4 + 2 + 4 + 4 + 2  # ten rows, four a step, six steps
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step":7,"epoch":1,"row":0,"pl')  # torn
    RowLosses(path).start(4)
    assert written(path) == [record for record in whole if record["step"] <= 4]
    histories = read_row_losses(path)
    assert [one.row for one in histories] == list(range(10)) and {one.times for one in histories} <= {1, 2}


def histories(*series: list[float]) -> list[RowHistory]:
    return [
        RowHistory(i, f"rows:{i + 1}", one[0], min(one), one[-1], len(one)) for i, one in enumerate(series)
    ]


def test_rows_are_named_for_what_became_of_them() -> None:
    learnt = [[3.0, 1.0, 0.2 + 0.01 * i] for i in range(8)]
    found = find_rows(histories(*learnt, [3.0, 2.9, 3.1], [3.0, 0.1, 2.8], [0.05, 0.05, 0.05], [2.0]))
    assert [one.place for one in found.never_learnt] == ["rows:9"]
    assert [one.place for one in found.forgotten] == ["rows:10"]
    assert (found.num_rows, found.num_seen) == (12, 11)
    assert "1 of 11 rows were never learnt: rows:9 (3.00 to 3.10)" in found.lines[0]
    assert "learnt and forgotten: rows:10" in found.lines[1]
    assert find_rows(histories(*learnt)).lines == []
    assert find_rows(histories([3.0])).lines == []


def test_a_row_whose_answer_contradicts_the_others_is_found_in_a_real_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    from luthier.data.dataset import TokenDataset

    ids, weights = [], []
    for number in range(12):
        prompt = rng.integers(1, 40, 5)
        ids.append(np.array([*prompt, 50 if number else 61], np.int32))
        weights.append(np.array([0, 0, 0, 0, 0, 1], np.float32))
        ids[-1][:5] = ids[0][:5]  # always the same question, and once another answer
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    places = [f"file.jsonl:{i + 1}" for i in range(12)]
    dataset = TokenDataset(np.concatenate(ids), np.concatenate(weights), offsets, places)
    path = tmp_path / FILE
    run_loop(tmp_path / "a", dropout_model(), rows=dataset, num_steps=30, row_losses=RowLosses(path))
    found = find_rows(read_row_losses(path))
    assert [one.place for one in found.never_learnt][:1] == ["file.jsonl:1"] and len(found.never_learnt) <= 2


def test_it_can_be_left_off(tmp_path: Path) -> None:
    run_loop(tmp_path / "a", dropout_model(), rows=random_rows([4, 5]))
    assert not (tmp_path / FILE).exists()
