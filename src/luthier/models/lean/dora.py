"""DoRA's layer in training, with less held: the norms of W + s B A without that sum, and no copy of W.

    y = m / |W + s B A| * (W x + s B A x) + b      the norms are of rows and taken as constants (arXiv:2402.09353)

PEFT makes B A from an identity matrix, and with dropout multiplies by a copy of W that autograd then keeps. The numbers
are the same but for the order of a sum. Knows nothing of where layers are.
"""

from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.kept import widened

_PIECE_BYTES = 1 << 19  # of a widened W at once: it stays in the cache


def dora(
    self: Any,
    x: Tensor,
    *,
    lora_A: nn.Linear,
    lora_B: nn.Linear,
    scaling: float,
    base_layer: Any,
    base_result: Tensor | None = None,
    adapter_name: str = "default",
) -> Tensor:
    """What has to be added to the output of the base layer; `base_result` is that output where x was not dropped.

    `self`: PEFT's DoraLinearLayer, whose `weight` is m.
    """
    weight = base_layer.weight.T if self.fan_in_fan_out else base_layer.weight
    lengths = row_norms(weight, lora_A.weight, lora_B.weight, scaling)
    ratio = (self.weight / lengths).view(1, -1)
    product = base_layer(x) if base_result is None else base_result
    if base_layer.bias is not None:
        product = product - base_layer.bias
    added: Tensor = (ratio - 1) * product + ratio * lora_B(lora_A(x)) * scaling
    return added


@torch.no_grad()
def row_norms(weight: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    """|W + s B A| of each row: W (out, in), A (rank, in), B (out, rank) -> (out,), in the dtype of A.

    Squared it is |W|^2 + s B (2 W A^T + s B A A^T), which holds nothing of the size of W.
    """
    squares = torch.empty(len(weight), dtype=a.dtype, device=a.device)
    with torch.autocast(a.device.type, enabled=False):
        scaled, inner = scaling * b, a @ a.T
        for rows, wide in widened(weight, a.dtype, _PIECE_BYTES):
            sides = torch.addmm(scaled[rows] @ inner, wide, a.T, beta=1, alpha=2)
            squares[rows] = torch.linalg.vecdot(wide, wide) + (scaled[rows] * sides).sum(1)
    return squares.sqrt_()
