"""Zeros that take no memory until they are written to: room for rows and adapters that may come.

torch.zeros writes its zeros. The C library's `calloc`, by way of numpy, hands out pages that the system fills as they
are first touched. This file knows nothing of what they are for.
"""

import math

import numpy as np
import torch
from torch import Tensor

_ALIGNED_BYTES = 64


def untouched_zeros(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros of that shape; on other devices than the CPU they are torch's own."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    num_bytes = math.prod(shape) * dtype.itemsize
    raw = np.zeros(num_bytes + _ALIGNED_BYTES, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNED_BYTES
    return torch.from_numpy(raw[start : start + num_bytes]).view(dtype).view(shape)
