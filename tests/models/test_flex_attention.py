"""FlexAttention sees what the dense mask sees. Forwards only: on a CPU it has no backward pass."""

import pytest
import torch

from luthier.models.attention import Layout, lay_out
from luthier.models.flex_attention import forest_flex_attention


def layout() -> Layout:
    """A root of 5 nodes, two branches of 4 and 3, the first with two leaves of 2; and a second tree of 6."""
    starts, ends = [0, 5, 9, 11, 13, 16], [5, 9, 11, 13, 16, 22]
    depths = [*range(5), *range(5, 9), 9, 10, 9, 10, *range(5, 8), *range(6)]
    return lay_out(starts, ends, [-1, 0, 1, 1, 0, -1], torch.tensor(depths))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_it_sees_what_the_dense_mask_sees(window: int | None, softcap: float | None) -> None:
    torch.manual_seed(0)
    forest = layout()
    query, key, value = (torch.randn(1, heads, 22, 16) for heads in (4, 2, 2))
    got = forest_flex_attention(
        query, key, value, forest.block_mask(window), scaling=0.3, softcap=softcap, compiled=False
    )
    scores = query @ key.repeat_interleave(2, dim=1).transpose(2, 3) * 0.3
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~forest.mask(window), float("-inf")).softmax(-1)
    expected = (weights @ value.repeat_interleave(2, dim=1)).transpose(1, 2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
