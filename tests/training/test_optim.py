"""Who moves which weight, and how far at which step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.models.methods import apply_lora, apply_method
from luthier.training.lion import Lion
from luthier.training.optim import build_optimizers, set_learning_rate
from tests.toy import tiny_model
from tests.training.toys import (
    VOCAB,
    Memory,
    dropout_model,
    lora_method,
    method_config,
    optim_config,
    run_loop,
    same,
    weights_of,
)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor"])
@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_every_trainable_weight_has_one_owner(architecture: str, name: str, method: str) -> None:
    model = tiny_model(architecture)
    if method != "full":
        model = apply_lora(model, lora_method(method), "toy")
    optimizers = build_optimizers(model.named_parameters(), optim_config(name=name))
    owned = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in owned} == wanted and len(owned) == len(wanted)
    outside = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if group["weight_decay"]:
                assert all(p.ndim >= 2 for p in group["params"])
            if type(optimizer).__name__ == "Muon":
                assert all(p.ndim == 2 and id(p) not in outside for p in group["params"])


def test_the_rate_is_set_in_every_group() -> None:
    optimizers = build_optimizers(tiny_model().named_parameters(), optim_config(name="muon"))
    assert set_learning_rate(optimizers, 0.5) == pytest.approx(5e-3)
    assert {group["lr"] for o in optimizers for group in o.param_groups} == {5e-3}


def by_name(model: Any, config: Any) -> dict[str, dict[str, Any]]:
    """The group that each trained parameter is in."""
    names = {id(p): name for name, p in model.named_parameters()}
    optimizers = build_optimizers(model.named_parameters(), config)
    return {names[id(p)]: group for o in optimizers for group in o.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor"])
def test_no_norm_bias_embedding_magnitude_or_factor_decays(name: str) -> None:
    config = optim_config(name=name, weight_decay=0.1)
    whole = by_name(tiny_model("gpt2").requires_grad_(True), config)
    assert {n for n, g in whole.items() if g["weight_decay"]} == {
        n for n in whole if n.endswith("weight") and not any(part in n for part in ("ln_", "wte", "wpe"))
    }
    llama = by_name(tiny_model().requires_grad_(True), config)
    plain = {n for n, g in llama.items() if not g["weight_decay"]}
    assert plain == {n for n in llama if "norm" in n or "embed" in n} and "lm_head.weight" not in plain
    prompt = by_name(apply_method(tiny_model(), method_config("prompt"), "toy", torch.float32), config)
    assert {g["weight_decay"] for g in prompt.values()} == {0.0}
    dora = by_name(apply_lora(tiny_model(), lora_method("dora"), "toy"), config)
    assert {g["weight_decay"] for n, g in dora.items() if "magnitude" in n} == {0.0}
    assert {g["weight_decay"] for n, g in dora.items() if "magnitude" not in n} == {0.1}
    factors = by_name(apply_method(tiny_model(), method_config("ia3"), "toy", torch.float32), config)
    assert {g["weight_decay"] for g in factors.values()} == {0.0}


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor"])
def test_lora_plus_makes_b_faster_through_the_whole_schedule(name: str) -> None:
    model = apply_lora(tiny_model(), lora_method(), "toy")
    config = optim_config(name=name, lora_plus_ratio=16.0)
    optimizers = build_optimizers(model.named_parameters(), config)
    assert set_learning_rate(optimizers, 0.5) == pytest.approx(5e-3)  # the plain rate is the one that is told
    names = {id(p): n for n, p in model.named_parameters()}
    rates = {
        names[id(p)]: group["lr"] for o in optimizers for group in o.param_groups for p in group["params"]
    }
    assert {n: pytest.approx(8e-2 if ".lora_B." in n else 5e-3) for n in rates} == rates


def test_lora_plus_is_that_of_peft() -> None:
    from peft.optimizers import create_loraplus_optimizer

    runs = []
    for mine in (True, False):
        model = apply_lora(tiny_model(seed=3), lora_method(dropout=0.0), "toy")
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        if mine:
            config = optim_config(learning_rate=1e-3, lora_plus_ratio=8.0, weight_decay=0.0)
            (optimizer,) = build_optimizers(model.named_parameters(), config)
        else:
            options = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "loraplus_weight_decay": 0.0}
            optimizer = create_loraplus_optimizer(
                model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8.0, **options
            )
        for step in range(3):
            ids = torch.arange(step, step + 9)[None]
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        runs.append(weights_of(model))
    for name, weight in runs[0].items():
        torch.testing.assert_close(weight, runs[1][name], rtol=1e-5, atol=1e-7)


def test_lion_is_its_algorithm() -> None:
    """Algorithm 2 of arXiv:2302.06675, written out in float64."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(5, 3, dtype=torch.float64))
    mine, momentum = weight.detach().clone(), torch.zeros(5, 3, dtype=torch.float64)
    optimizer = Lion([weight], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(5, 3, dtype=torch.float64)
        update = torch.sign(0.9 * momentum + 0.1 * gradient)
        momentum = 0.99 * momentum + 0.01 * gradient
        mine = mine - 0.01 * (update + 0.1 * mine)
        weight.grad = gradient
        optimizer.step()
        torch.testing.assert_close(weight.detach(), mine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["lion", "adafactor"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_resumed_it_is_the_straight_run(name: str, method: str, tmp_path: Path) -> None:
    optim = optim_config(name=name, learning_rate=1e-3)
    straight = dropout_model(method)
    _, told = run_loop(tmp_path / "straight", straight, num_steps=5, optim=optim)
    first = Memory(stop_after=2)
    run_loop(tmp_path / "stopped", dropout_model(method), num_steps=5, optim=optim, tracker=first)
    resumed = dropout_model(method, seed=9)
    _, second = run_loop(tmp_path / "stopped", resumed, num_steps=5, optim=optim, resume=True)
    assert first.losses | second.losses == told.losses
    assert same(weights_of(resumed), weights_of(straight))


@pytest.mark.parametrize("name", ["lion", "adafactor"])
def test_the_loss_falls(name: str, tmp_path: Path) -> None:
    optim = optim_config(name=name, learning_rate=3e-3, schedule="constant")
    model = tiny_model(vocab_size=VOCAB).requires_grad_(True)
    _, told = run_loop(tmp_path, model, num_steps=15, optim=optim, checkpoint_every=100)
    assert told.losses[15] < 0.9 * told.losses[1]
