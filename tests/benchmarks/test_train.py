"""The rows of the training benchmark are of the lengths that it tells, for us and for the peers alike."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from luthier.chat.messages import Conversation, Message
from luthier.chat.render import Renderer
from luthier.data.batches import BatchPlan
from luthier.data.sharing import common_prefix
from tests.training.toys import random_rows
from train import table
from train_peers import Clock, _hash, step_order
from train_shapes import JOBS, tokenizer, write_rows


def rendered(row: dict[str, Any], answer: str) -> tuple[list[int], int]:
    """Ids of a row, and how many of them are learnt; the peers' way must give the same."""
    told = tokenizer()
    turns = row["prompt"] + row[answer]
    (rendering,) = Renderer(told).render(Conversation(tuple(Message(**turn) for turn in turns)))
    prompt = told.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    assert list(rendering.token_ids) == told.apply_chat_template(turns, return_dict=False)
    assert list(rendering.weights) == [float(k >= len(prompt)) for k in range(len(rendering.token_ids))]
    return list(rendering.token_ids), sum(weight > 0 for weight in rendering.weights)


@pytest.mark.parametrize("name", JOBS)
def test_rows_are_as_told(name: str, tmp_path: Path) -> None:
    job = JOBS[name]
    rows = [json.loads(line) for line in write_rows(job, tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == job.num_rows == job.batch_size * job.num_steps // job.epochs
    for row in rows:
        if job.objective == "dpo":
            pairs = [rendered(row, answer) for answer in ("chosen", "rejected")]
            assert [len(ids) for ids, _ in pairs] == [200 + 60] * 2
            assert common_prefix(*(np.array(ids, np.int32) for ids, _ in pairs)) >= 200
            continue
        ids, learnt = rendered(row, "completion")
        if name == "unshared":
            assert 40 <= len(ids) <= 400
            assert learnt == len(ids) // 2 - 1  # the mark that opens the answer belongs to the prompt
        else:
            first, _ = rendered(rows[0], "completion")
            assert ids[:150] == first[:150]
            assert 50 <= len(ids) - 150 <= 150


def test_peers_are_given_the_rows_in_the_order_of_our_steps() -> None:
    job = JOBS["top"]
    batches = BatchPlan(random_rows([3] * job.num_rows), job.batch_size, 64, seed=0)
    ours = [i for step in range(job.num_steps) for i in batches.rows_of_step(step)]
    assert step_order(job) == ours


def test_the_hash_sees_ids_and_what_is_learnt() -> None:
    rows = [([1, 2], [0.0, 1.0]), ([3], [1.0])]
    assert _hash(rows) == _hash(rows[::-1])
    assert _hash(rows) != _hash([([1, 2], [1.0, 1.0]), ([3], [1.0])])


def test_the_table_divides_ours_by_the_peers() -> None:
    def measured(seconds: float) -> dict[str, Any]:
        clock = Clock()
        clock.ends = [(seconds * step, 2 * seconds * step) for step in range(5)]
        return vars(clock.measured(JOBS["shared"], [100] * 5, [2.0, 1.0], "x"))

    results = {"shared": {"luthier:default": measured(1.0), "trl:padded": measured(4.0)}}
    assert results["shared"]["trl:padded"]["tokens_per_second"] == 25
    ours, theirs = table(results).splitlines()[2:]
    assert "| 100 | 50 |" in ours
    assert "| 4.00x, 4.00x | 1.00x | >= 4x, <= 0.35x |" in theirs
