"""The forecast counts what is really there, shares it as ZeRO says, and remembers how far it was off."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from transformers import LlamaConfig

from luthier.data.forest import forests
from luthier.errors import ConfigError
from luthier.models.forward import causal_parts
from luthier.models.lean import make_lean
from luthier.models.load import load_weights
from luthier.models.methods import apply_method
from luthier.models.quantized import Quantization
from luthier.training.forecast.alive import Alive, settler
from luthier.training.forecast.devices import DEVICES, named_device
from luthier.training.forecast.history import remember, track_record
from luthier.training.forecast.memory import STATE_NUMBERS, memory_of, share
from luthier.training.forecast.shapes import held_tensors
from luthier.training.forecast.trace import _line, _run, _shallow, trace
from luthier.training.learner import Learner, choose_cut
from luthier.training.objectives import OBJECTIVES
from luthier.training.optim import build_optimizers
from luthier.training.recipe import OptimConfig
from tests.toy import tiny_model
from tests.training.toys import VOCAB, dropout_model, method_config, optim_config, random_rows


def small(num_layers: int = 2) -> Any:
    return LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )


def batch() -> Any:
    return forests(random_rows([40, 30, 20, 10]), range(4), 1000)[0]


def real_model(method: str, folder: Path) -> Any:
    """A model with numbers, as a run makes it."""
    if method != "qlora":
        model = dropout_model(method)
    else:
        pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
        tiny_model(vocab_size=VOCAB).save_pretrained(folder)
        base = load_weights(str(folder), torch.float32, quantization=Quantization("nf4"))
        model = apply_method(base, method_config("qlora", rank=4, alpha=8, dropout=0.1), "toy", torch.float32)
    assert make_lean(model) == (5 if method == "qlora" else 7 if method == "full" else 21)
    return model


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_what_is_traced_is_what_a_real_step_holds(method: str, tmp_path: Path) -> None:
    model = real_model(method, tmp_path)
    model.train()
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    choose_cut(learner, "forest")
    alive = Alive(held_tensors(model))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(settler(alive))
    with alive, learner.laid_out(batch()):
        outputs, targets = learner.outputs(batch())
        OBJECTIVES["sft"].loss(outputs, targets).loss_sum.backward()
    config = model.config if method == "full" else model.get_base_model().config
    changes = {} if method == "full" else {"dropout": 0.1, "rank": 4, "alpha": 8}
    seen = trace(config, method_config(method, **changes), batch(), torch.float32)
    assert seen.activation_bytes == pytest.approx(alive.peak, rel=0.02)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (seen.trained_parameters, seen.gradient_bytes) == (trained, 4 * trained)
    held = sum(tensor.numel() * tensor.element_size() for tensor in held_tensors(model))
    assert seen.base_bytes + seen.trained_bytes == pytest.approx(held, rel=0.001)


def test_products_of_packed_weights_are_counted() -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    plain, packed = (
        trace(small(), method_config(name, rank=4, alpha=8), batch(), torch.float32)
        for name in ("lora", "qlora")
    )
    assert packed.work.flops == pytest.approx(plain.work.flops, rel=0.05)
    assert packed.base_bytes < plain.base_bytes


def test_what_is_frozen_below_is_computed_apart() -> None:
    section = method_config("top_layers")
    whole, apart = (trace(small(4), section, batch(), torch.float32, trunk=on) for on in (False, True))
    assert (whole.trunk_layers, apart.trunk_layers) == (0, 3)
    assert apart.work.flops + apart.trunk_work.flops == pytest.approx(whole.work.flops, rel=1e-6)
    assert apart.work.flops < 0.7 * whole.work.flops
    assert apart.trunk_bytes == pytest.approx(0.75 * (apart.base_bytes + apart.trained_bytes), rel=0.15)
    assert trace(small(4), method_config("lora"), batch(), torch.float32, trunk=True).trunk_layers == 0


@pytest.mark.parametrize("method", ["full", "lora", "top_layers"])
def test_deep_models_are_a_straight_line(method: str) -> None:
    config, section = small(5), method_config(method)
    whole = _run(config, section, batch(), torch.float32, False, False)
    low, high = (_run(_shallow(config, n), section, batch(), torch.float32, False, False) for n in (2, 3))
    line = _line(low, high, 3)
    assert line.activation_bytes == pytest.approx(whole.activation_bytes, rel=0.02)
    assert line.work.flops == pytest.approx(whole.work.flops, rel=0.01)
    assert line.trained_parameters == whole.trained_parameters


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "lion", "muon", "adafactor"])
def test_the_state_of_optimizers_is_what_they_really_keep(name: str) -> None:
    if name == "adamw_8bit":
        pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    model = tiny_model(vocab_size=256).requires_grad_(True)  # embeddings large enough for 8 bits
    optimizers = build_optimizers(model.named_parameters(), optim_config(name=name))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    kept: dict[int, torch.Tensor] = {}
    for optimizer in optimizers:
        optimizer.step()
        states = [v for state in optimizer.state.values() for v in state.values()]
        kept |= {one.data_ptr(): one for one in states if isinstance(one, torch.Tensor) and one.ndim}
    kept_bytes = sum(one.numel() * one.element_size() for one in kept.values())
    counted = 4 * sum(STATE_NUMBERS[name](n, tuple(p.shape)) for n, p in model.named_parameters())
    assert counted == pytest.approx(kept_bytes, rel=0.02)


def test_every_optimizer_of_a_recipe_has_a_count() -> None:
    assert set(get_args(OptimConfig.model_fields["name"].annotation)) == set(STATE_NUMBERS)


def test_zero_divides_what_the_paper_says() -> None:
    seen = trace(small(), method_config("full"), batch(), torch.float32)
    options = {"kind": "cuda", "is_adapter": False, "one_microbatch": False, "stored_bytes": 0}
    alone = memory_of(seen, "adamw", **options)  # type: ignore[arg-type]
    assert (
        alone.optimizer == 2 * alone.weights - 2 * seen.base_bytes and alone.gradients == seen.trained_bytes
    )
    shared = {s: share(alone, s, 4, 0) for s in ("ddp", "zero1", "zero2", "zero3", "fsdp")}  # type: ignore[arg-type]
    assert shared["ddp"].training == alone.training
    assert shared["zero1"].optimizer == alone.optimizer // 4 and shared["zero1"].gradients == alone.gradients
    assert shared["zero2"].gradients == alone.gradients // 4 and shared["zero2"].weights == alone.weights
    assert shared["zero3"].weights == alone.weights // 4
    assert shared["fsdp"] == shared["zero3"]


def test_devices_are_named_with_their_source() -> None:
    assert all(one.source and one.memory_bytes > 1e10 for one in DEVICES.values())
    assert named_device("t4").dtype == "float32" and named_device("h100").dtype == "bfloat16"
    with pytest.raises(ConfigError, match="expected here, cpu or one of t4"):
        named_device("tpu")


def test_the_track_record_is_the_median_of_what_came(tmp_path: Path) -> None:
    assert "no forecast" in track_record(tmp_path).sentence
    told = {"method": "lora", "device": "d", "dtype": "float32"}
    for memory, speed in ((90, 100), (96, 89), (110, 150)):
        made = {**told, "memory": {"total": memory}, "time": {"tokens_per_second": 100.0}}
        remember(tmp_path, "run", made, peak_memory_bytes=100, tokens_per_second=speed)
    record = track_record(tmp_path)
    assert (record.count, round(record.memory, 2), round(record.speed, 2)) == (3, 0.1, 0.11)
