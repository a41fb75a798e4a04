"""AdamW with its state in 8 bits: near the plain one, exact on resume, refused where it would do nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from luthier.errors import ConfigError
from luthier.training.optim import build_optimizers
from tests.toy import tiny_model
from tests.training.test_job import run
from tests.training.toys import VOCAB, Memory, optim_config, run_loop, same, weights_of

pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")


def toy() -> Any:
    return tiny_model(vocab_size=256).requires_grad_(True)  # embeddings of 8192 numbers: enough for 8 bits


def test_it_is_the_optimizer_of_bitsandbytes_and_near_adamw() -> None:
    from bitsandbytes.optim import AdamW8bit

    start = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    config = optim_config(name="adamw_8bit", weight_decay=0.1)
    weights = [nn.Parameter(start.clone()) for _ in range(3)]
    (mine,) = build_optimizers([("weight", weights[0])], config)
    options = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    optimizers = [mine, AdamW8bit([weights[1]], **options), torch.optim.AdamW([weights[2]], **options)]
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        gradient = torch.randn(128, 64, generator=generator)
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(weights[0], weights[1])
    apart = (weights[0] - weights[2]).abs().max()
    assert 0 < apart < 0.1 * (weights[2] - start).abs().max()
    assert {v.dtype for k, v in mine.state[weights[0]].items() if k in ("state1", "state2")} == {torch.uint8}


def test_resumed_it_is_the_straight_run(tmp_path: Path) -> None:
    optim = optim_config(name="adamw_8bit", learning_rate=1e-3)
    straight = toy()
    _, told = run_loop(tmp_path / "straight", straight, num_steps=5, optim=optim)
    first = Memory(stop_after=2)
    run_loop(tmp_path / "stopped", toy(), num_steps=5, optim=optim, tracker=first)
    resumed = toy()
    _, second = run_loop(tmp_path / "stopped", resumed, num_steps=5, optim=optim, resume=True)
    assert first.losses | second.losses == told.losses
    assert same(weights_of(resumed), weights_of(straight))


def test_without_its_state_a_resumed_run_would_be_another(tmp_path: Path) -> None:
    """The state is in the checkpoint, 8 bits a number."""
    from safetensors.torch import load_file

    optim = optim_config(name="adamw_8bit")
    run_loop(tmp_path, toy(), num_steps=2, optim=optim)
    stored = load_file(tmp_path / "step-00000002" / "optimizer.safetensors")
    kinds = {name.rsplit(".", 1)[1]: tensor.dtype for name, tensor in stored.items() if "optimizer." in name}
    assert {"state1", "state2", "absmax1", "absmax2"} <= kinds.keys()
    assert any(tensor.dtype == torch.uint8 and tensor.numel() == 256 * 32 for tensor in stored.values())


def test_a_run_from_the_recipe(tmp_path: Path) -> None:
    _, _, result = run(tmp_path, method="full", optim={"name": "adamw_8bit"})
    assert result.loop.outcome == "finished"


def test_what_would_do_nothing_is_refused(tmp_path: Path) -> None:
    model = tiny_model(vocab_size=VOCAB).requires_grad_(True)
    with pytest.raises(ConfigError, match="nothing to move; use adamw or adamw_8bit"):
        build_optimizers(model.named_parameters(), optim_config(name="paged_adamw"))
    with pytest.raises(ConfigError, match="float32 at most"):
        build_optimizers(model.double().named_parameters(), optim_config(name="adamw_8bit"))
    with pytest.raises(ConfigError, match="nothing to move"):
        run(tmp_path, optim={"name": "paged_adamw"})


def test_without_bitsandbytes_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.models.quantized.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[quant\]'"):
        build_optimizers(toy().named_parameters(), optim_config(name="adamw_8bit"))
