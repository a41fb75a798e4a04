"""Freezing by pattern: what trains is what the pattern says, and a pattern that says nothing is an error."""

from typing import Any

import pytest
import torch

from luthier.errors import ConfigError
from luthier.models.methods import apply_freeze
from tests.toy import tiny_model
from tests.training.toys import method_config


def trained(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_train_only_and_all_but() -> None:
    names = {name for name, _ in tiny_model().named_parameters()}
    mlp = {name for name in names if ".mlp." in name}
    only = apply_freeze(tiny_model(), method_config("freeze", train=[r"\.mlp\."]))
    assert trained(only) == mlp
    but = apply_freeze(tiny_model(), method_config("freeze", train=[], freeze=[r"\.mlp\.", "^lm_head"]))
    assert trained(but) == names - mlp - {"lm_head.weight"}


def test_a_module_keeps_one_dtype() -> None:
    model = apply_freeze(tiny_model("gpt2").bfloat16(), method_config("freeze", train=[r"ln_\d\.weight"]))
    assert model.transformer.h[0].ln_1.bias.dtype == torch.float32
    assert model.transformer.h[0].attn.c_attn.weight.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(input_ids=torch.arange(9)[None]).logits.isfinite().all()


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ({"train": ["nothing"]}, "is found in no parameter"),
        ({"train": ["mlp", "gone"]}, "'gone' is found in no parameter"),
        ({"train": ["("]}, "is not a regular expression"),
        ({"train": [], "freeze": [".*"]}, "nothing would train"),
    ],
)
def test_patterns_that_say_nothing(patterns: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        apply_freeze(tiny_model(), method_config("freeze", **patterns))
