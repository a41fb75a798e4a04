"""A local model as an answerer: who it is, and that it says the same again."""

import torch

from luthier.evaluation.answerers.opening import open_answerer
from luthier.evaluation.noise import noise_floor
from luthier.evaluation.runner import evaluate
from luthier.evaluation.samples import by_sampling
from luthier.models.load import load_model
from tests.evaluation.calculator import sums


def test_a_local_model_is_deterministic_and_its_identity_is_its_weights() -> None:
    from luthier.evaluation.answerers.local import ModelAnswerer

    items = sums(4, "plus")
    opened = open_answerer("luthier-nano", name="nano", dtype="float32")
    runs = [evaluate(opened, items, max_new_tokens=8, batch_size=size) for size in (4, 4, 2)]
    floor = noise_floor(runs)
    assert (floor.answers_changed, floor.verdicts_changed, floor.batch_sizes) == (0.0, 0.0, (4, 4, 2))
    assert runs[0].items[0].latency_seconds is not None
    warm = [evaluate(opened, items, asking=by_sampling(opened, 8, 1.5, seed)) for seed in (1, 1, 2)]
    said = [[one.answer for one in result.items] for result in warm]
    assert said[0] == said[1] != said[2]
    loaded = load_model("luthier-nano", dtype="float32")
    other = ModelAnswerer(loaded, "other name")
    assert other.identity() == opened.identity() and not opened.may_change
    with torch.no_grad():
        next(loaded.model.parameters()).view(-1)[0] += 1
    assert other.identity() != opened.identity()
