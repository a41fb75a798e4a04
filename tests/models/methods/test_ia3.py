"""IA3: which channels are scaled, on architectures with other names for their parts."""

import pytest
import torch

from luthier.errors import ConfigError
from luthier.models.methods import apply_ia3
from tests.toy import ARCHITECTURES, tiny_model
from tests.training.toys import method_config

IDS = torch.arange(5, 25)[None]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_starts_as_the_base_and_merges_exactly(architecture: str) -> None:
    base = tiny_model(architecture)
    with torch.no_grad():
        before = base(input_ids=IDS).logits
        model = apply_ia3(base, method_config("ia3"), "toy").eval()
        assert torch.equal(model(input_ids=IDS).logits, before)
        factors = [p for p in model.parameters() if p.requires_grad]
        per_layer = {"gpt2": 2, "phi3": 2}.get(architecture, 3)
        assert len(factors) == 2 * per_layer and all(bool((p == 1).all()) for p in factors)
        for factor in factors:
            factor.add_(torch.randn_like(factor) * 0.3)
        moved = model(input_ids=IDS).logits
        assert (moved - before).abs().max() > 1e-3
        merged = model.merge_and_unload()(input_ids=IDS).logits
    torch.testing.assert_close(merged, moved, rtol=1e-4, atol=1e-5)


def test_targets_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="nothing"):
        apply_ia3(tiny_model(), method_config("ia3", targets=["nothing"], feedforward=[]), "toy")
    with pytest.raises(ConfigError, match=r"not among method\.targets"):
        apply_ia3(tiny_model(), method_config("ia3", targets=["k_proj"], feedforward=["down_proj"]), "toy")
