"""Who moves which weight, and how far at which step."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.models.methods import apply_lora
from luthier.training.optim import build_optimizers, build_schedule, set_learning_rate
from tests.toy import ARCHITECTURES, tiny_model
from tests.training.toys import lora_method, optim_config


@given(
    num_steps=st.integers(1, 300),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
)
def test_the_schedule_warms_up_from_above_zero_and_ends_at_its_share(
    num_steps: int, warmup: float, final: float, schedule: Any
) -> None:
    config = optim_config(schedule=schedule, warmup_share=warmup, final_share=final)
    factors = [build_schedule(config, num_steps)(step) for step in range(num_steps)]
    peak = min(math.ceil(warmup * num_steps), num_steps - 1)
    assert all(0 < factor <= 1 or final == 0 for factor in factors) and factors[0] > 0
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True) or schedule == "constant"
    if math.ceil(warmup * num_steps) < num_steps:
        assert factors[peak] == pytest.approx(1.0)
        end = build_schedule(config, num_steps)(num_steps)
        assert end == pytest.approx(1.0 if schedule == "constant" else final)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", ["adamw", "muon"])
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
