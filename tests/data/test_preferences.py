"""Preferences and labelled answers become units of rows: whole, never cut on one side, the answer alone learnt."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.data.batches import BatchPlan, microbatches
from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests, plant, sort_rows
from luthier.data.formats import read_example
from luthier.data.preferences import feedback_dataset, pair_dataset
from luthier.data.units import BETTER, WORSE, Units
from luthier.errors import DataError
from tests.toy import byte_tokenizer

RENDERER = Renderer(byte_tokenizer())


def pair(question: str, chosen: str, rejected: str, **more: Any) -> Any:
    return read_example({"prompt": question, "chosen": chosen, "rejected": rejected, **more}, where="x")[1]


def labelled(question: str, answer: str, label: bool) -> Any:
    return read_example({"prompt": question, "completion": answer, "label": label}, where="x")[1]


def learnt(dataset: TokenDataset, row: int) -> str:
    ids, weights = dataset.row(row)
    return RENDERER.decode([int(i) for i, weight in zip(ids, weights, strict=True) if weight > 0])


def test_a_pair_is_two_rows_of_which_the_answers_are_learnt() -> None:
    examples = [("f:1", pair("Who?", "It is you.", "No.")), ("f:2", pair("Why?", "So.", "It is me."))]
    dataset = pair_dataset(examples, RENDERER, max_length=99)
    assert (dataset.num_rows, dataset.num_units, dataset.places) == (4, 2, ["f:1", "f:1", "f:2", "f:2"])
    assert dataset.units is not None and dataset.units.roles_R.tolist() == [BETTER, WORSE] * 2
    said = [learnt(dataset, row) for row in range(4)]
    assert said == [f"{text}<|im_end|>" for text in ("It is you.", "No.", "So.", "It is me.")]
    prompt = RENDERER.prompt([Message("user", "Who?")])
    assert dataset.row(0)[0][: len(prompt)].tolist() == dataset.row(1)[0][: len(prompt)].tolist() == prompt


def test_earlier_turns_are_context_unless_they_have_a_weight() -> None:
    for weight, expected in ((None, "Yes."), (0.5, "Hello.<|im_end|>Yes.")):
        earlier = {"role": "assistant", "content": "Hello."} | ({"weight": weight} if weight else {})
        turns = [{"role": "user", "content": "Hi"}, earlier, {"role": "user", "content": "Well?"}]
        row = {"prompt": turns, "chosen": "Yes.", "rejected": "No."}
        dataset = pair_dataset([("f:1", read_example(row, where="x")[1])], RENDERER, max_length=99)
        assert learnt(dataset, 0) == f"{expected}<|im_end|>"


def test_a_pair_of_which_one_side_is_too_long_is_left_out_whole() -> None:
    long = "It goes on and on and on. " * 9
    for sides in (("Yes.", long), (long, "Yes.")):
        examples = [("f:1", pair("Who?", "A.", "B.")), ("f:2", pair("Why?", *sides))]
        with pytest.raises(DataError, match=r"f:2: \d+ tokens, but data.max_length is 60"):
            pair_dataset(examples, RENDERER, max_length=60)
        dataset = pair_dataset(examples, RENDERER, max_length=60, too_long="drop")
        assert (dataset.num_units, dataset.num_rows, dataset.num_dropped) == (1, 2, 1)


def test_a_mismatched_row_has_the_answer_of_the_row_before() -> None:
    examples = [
        ("f:1", labelled("Who?", "You.", True)),
        ("f:2", labelled("Why?", "Because of the rain.", False)),
        ("f:3", labelled("How?", "Well.", True)),
    ]
    dataset = feedback_dataset(examples, RENDERER, max_length=99)
    beside = dataset.beside
    assert beside is not None and dataset.units is not None
    assert dataset.units.roles_R.tolist() == [BETTER, WORSE, BETTER]
    assert [learnt(beside, row) for row in range(3)] == [
        f"{text}<|im_end|>" for text in ("Well.", "You.", "Because of the rain.")
    ]
    for row, question in enumerate(("Who?", "Why?", "How?")):
        prompt = RENDERER.prompt([Message("user", question)])
        assert beside.row(row)[0][: len(prompt)].tolist() == prompt
    # What does not fit is cut at its end, so that no prompt is without an estimate.
    short = feedback_dataset(examples[:2], RENDERER, max_length=int(dataset.lengths()[:2].max()))
    assert short.beside is not None and short.beside.lengths().max() <= dataset.lengths()[:2].max()
    with pytest.raises(DataError, match="at least two"):
        feedback_dataset(examples[:1], RENDERER, max_length=99)


def test_what_cannot_be_learnt_is_named() -> None:
    empty = replace(pair("Who?", "It is you.", "No."), chosen=(Message("assistant", " "),))
    with pytest.raises(DataError, match="f:1: the answer to prefer is empty"):
        pair_dataset([("f:1", empty)], RENDERER, max_length=99)
    unlearnt = replace(pair("Who?", "You.", "No."), rejected=(Message("assistant", "No.", weight=0.0),))
    with pytest.raises(DataError, match="f:1: nothing to learn"):
        pair_dataset([("f:1", unlearnt)], RENDERER, max_length=99)


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8)
UNITS = st.lists(st.lists(TOKENS, min_size=1, max_size=3), min_size=1, max_size=8)


@given(UNITS, st.integers(1, 40), st.integers(1, 4))
def test_units_are_never_torn(units: list[list[list[int]]], budget: int, batch_size: int) -> None:
    rows = [row for unit in units for row in unit]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    starts = np.cumsum([0, *map(len, units)]).astype(np.int64)
    ids = np.concatenate([np.array(row, np.int32) for row in rows])
    roles = np.arange(len(rows), dtype=np.int8) % 2
    dataset = TokenDataset(
        ids,
        np.ones(len(ids), np.float32),
        offsets,
        [""] * len(rows),
        units=Units(starts, roles, np.arange(len(rows), dtype=np.float32)),
    )
    for cut in (forests, microbatches):
        plan = BatchPlan(dataset, batch_size, budget, seed=0, cut=cut)
        seen: list[int] = []
        for step in range(plan.steps_per_epoch):
            assert len(set(dataset.units_of_rows(plan.rows_of_step(step)))) <= batch_size
            for batch in plan.step(step):
                members = batch.members
                assert members is not None and members.reference_B is not None
                assert batch.weight_sum == members.num_units
                index = batch.row_indices_B
                assert sorted(dataset.rows_of_units(members.unit_indices_U.tolist())) == sorted(index)
                assert members.unit_indices_U[members.unit_B].tolist() == dataset.units_of_rows(list(index))
                assert members.role_B.tolist() == roles[index].tolist()
                assert members.reference_B.tolist() == index.tolist()
                seen += members.unit_indices_U.tolist()
        assert sorted(seen) == list(range(len(units)))
    for forest in forests(dataset, range(len(rows)), budget):
        assert forest.members is not None
        assert forest.members.num_units == 1 or forest.num_nodes <= budget
    assert plant(dataset, sort_rows(dataset, range(len(rows)))).num_nodes <= len(ids)
