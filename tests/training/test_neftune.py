"""Noise on embeddings: its size, where it is, and that a stopped run goes on with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.data.batches import microbatches
from luthier.data.forest import forests
from luthier.models.forward import causal_parts
from luthier.training import loop
from luthier.training.learner import Learner
from luthier.training.neftune import EmbeddingNoise, row_lengths
from tests.data.test_forest import dataset
from tests.toy import tiny_model
from tests.training import toys
from tests.training.toys import VOCAB, Memory, dropout_model, random_rows, run_loop, same, weights_of


def noise_of(batch: Any, ids: torch.Tensor, alpha: float) -> torch.Tensor:
    embeddings = torch.nn.Embedding(VOCAB, 48)
    plain = embeddings(ids).detach()
    noise = EmbeddingNoise(embeddings, alpha)
    with noise.over(batch):
        noisy = embeddings(ids).detach()
        assert torch.equal(embeddings.eval()(ids), plain)  # none in evaluation
    assert torch.equal(embeddings.train()(ids), plain)  # none outside a batch
    return noisy - plain


def test_the_size_is_that_of_the_paper_for_each_row() -> None:
    rows = random_rows([40, 8])
    (batch,) = microbatches(rows, [0, 1], 1000)
    torch.manual_seed(0)
    found = noise_of(batch, torch.from_numpy(batch.token_ids_BT), alpha=5.0)
    for line, length in enumerate(batch.lengths_B):
        bound = 5.0 / (length * 48) ** 0.5
        part = found[line, :length]
        assert part.abs().max() <= bound + 1e-6
        # Uniform from -bound to bound: mean 0, variance bound^2 / 3.
        assert float(part.var()) == pytest.approx(bound**2 / 3, rel=0.15)
        assert abs(float(part.mean())) < 0.1 * bound
    # As TRL's hook writes it, for a batch of one row without padding: alpha / sqrt(L C).
    assert set(batch.lengths_B) == {40, 8}


def test_in_a_forest_a_shared_token_has_the_size_of_its_longest_row() -> None:
    rows = dataset([[1, 2, 3], [1, 2, 4, 5, 6], [7, 8]])
    (forest,) = forests(rows, range(3), 1000)
    lengths = row_lengths(forest)[0]
    by_token = dict(zip(forest.token_ids_N.tolist(), lengths.tolist(), strict=True))
    assert by_token == {1: 5, 2: 5, 3: 3, 4: 5, 5: 5, 6: 5, 7: 2, 8: 2}


def test_padded_rows_have_their_own_length() -> None:
    (batch,) = microbatches(random_rows([9, 4]), [0, 1], 1000)
    assert np.array_equal(row_lengths(batch), [[9], [4]])


def test_it_changes_training_and_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(model: Any, parts: Any, device: Any) -> Learner:
        return loop.Learner(model, parts, device, EmbeddingNoise(model.get_input_embeddings(), 5.0))

    plain = dropout_model()
    _, without = run_loop(tmp_path / "plain", plain, num_steps=5)
    monkeypatch.setattr(toys, "Learner", noisy)
    straight = dropout_model()
    _, told = run_loop(tmp_path / "straight", straight, num_steps=5)
    assert told.losses != without.losses
    first = Memory(stop_after=2)
    run_loop(tmp_path / "stopped", dropout_model(), num_steps=5, tracker=first)
    resumed = dropout_model(seed=9)
    _, second = run_loop(tmp_path / "stopped", resumed, num_steps=5, resume=True)
    assert first.losses | second.losses == told.losses
    assert same(weights_of(resumed), weights_of(straight))


def test_the_validation_loss_has_no_noise() -> None:
    model = tiny_model(vocab_size=VOCAB)
    rows = random_rows([9, 4])
    batches = microbatches(rows, [0, 1], 100)
    config = loop.LoopConfig(1, 1, 1, 1.0)
    parts = causal_parts(model)
    objective = toys.OBJECTIVES["sft"]
    quiet = Learner(model, parts, torch.device("cpu"))
    plain = loop.mean_loss(quiet, objective, batches, config)
    noise = EmbeddingNoise(model.get_input_embeddings(), 50.0)
    loud = Learner(model, parts, torch.device("cpu"), noise)
    assert loop.mean_loss(loud, objective, batches, config) == plain
