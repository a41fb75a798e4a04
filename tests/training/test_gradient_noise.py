"""Noise on the gradient: of the size that the paper gives, from the seed and the step alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from luthier.training.gradient_noise import GradientNoise
from tests.training.test_job import run
from tests.training.toys import Memory, dropout_model, run_loop, same, weights_of


def drawn(noise: GradientNoise, step: int) -> torch.Tensor:
    weight = nn.Parameter(torch.zeros(300, 300))
    weight.grad = torch.ones(300, 300)
    noise.add(step, [weight, nn.Parameter(torch.zeros(3))])  # the second has no gradient
    return weight.grad - 1


@pytest.mark.parametrize("step", [0, 1, 99])
def test_its_variance_is_that_of_the_paper(step: int) -> None:
    found = drawn(GradientNoise(0.3, seed=1), step)
    assert float(found.var()) == pytest.approx(0.3 / (1 + step) ** 0.55, rel=0.03)
    assert abs(float(found.mean())) < 0.01


def test_seed_and_step_decide() -> None:
    first = drawn(GradientNoise(0.3, seed=1), 4)
    assert torch.equal(first, drawn(GradientNoise(0.3, seed=1), 4))
    assert not torch.equal(first, drawn(GradientNoise(0.3, seed=2), 4))
    assert not torch.allclose(first, drawn(GradientNoise(0.3, seed=1), 5))


def test_two_weights_get_two_draws() -> None:
    weights = [nn.Parameter(torch.zeros(5)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.zeros(5)
    GradientNoise(0.3, seed=1).add(0, weights)
    assert not torch.equal(weights[0].grad, weights[1].grad)


def test_resumed_it_is_the_straight_run(tmp_path: Path) -> None:
    noise = GradientNoise(0.3, seed=1)
    straight = dropout_model("lora")
    _, told = run_loop(tmp_path / "straight", straight, num_steps=5, gradient_noise=noise)
    first = Memory(stop_after=2)
    run_loop(tmp_path / "stopped", dropout_model("lora"), num_steps=5, tracker=first, gradient_noise=noise)
    resumed = dropout_model("lora", seed=9)
    _, second = run_loop(tmp_path / "stopped", resumed, num_steps=5, resume=True, gradient_noise=noise)
    assert first.losses | second.losses == told.losses
    assert same(weights_of(resumed), weights_of(straight))
    _, quiet = run_loop(tmp_path / "plain", dropout_model("lora"), num_steps=5)
    assert quiet.losses[1] == told.losses[1] and quiet.losses[5] != told.losses[5]


def test_a_run_from_the_recipe(tmp_path: Path) -> None:
    weights = []
    for name, eta in (("a", 0.3), ("b", 0.3), ("c", None)):
        _, made, _ = run(tmp_path, name, train={"gradient_noise": eta})
        weights.append((made.model_folder / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
