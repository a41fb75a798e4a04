"""How long a micro-batch takes: on this machine from its own operations, measured; elsewhere from a data sheet.

Here the products of the model are multiplied in their own shapes (cut to some milliseconds), attention goes forward
and backward in its typical shape, and everything else is bytes moved at a measured bandwidth, random numbers at a
measured rate, and a cost for each call. The fastest of many short tries counts, so that another job on the machine
disturbs little: the forecast is that of an idle machine. Knows nothing of steps or runs.
"""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from luthier.models.load import DTYPES
from luthier.training.forecast.alive import Alive
from luthier.training.forecast.calibration import EFFICIENCY, FULL_WIDTH
from luthier.training.forecast.devices import Device
from luthier.training.forecast.stopwatch import best_seconds
from luthier.training.forecast.work import AttentionShape, ProductShape, Work

_TRY_SECONDS = 0.002  # less than a turn of the system's scheduler, so that some try is undisturbed
_RANDOM_NUMBERS = 1 << 18


def microbatch_seconds(work: Work, device: Device, dtype: str, hidden_size: int) -> float:
    """Forward and backward of the micro-batch that `work` was counted of. `hidden_size`: how wide the model is."""
    if device.here is None:
        filled = min(1.0, hidden_size / FULL_WIDTH[device.kind])
        return work.flops / (device.rate(dtype) * EFFICIENCY[device.kind] * filled)
    here, torch_dtype = torch.device(device.here), DTYPES[dtype]
    budget = device.rate(dtype) * _TRY_SECONDS
    seconds = sum(
        flops / _product_rate(_cut(shape, budget), torch_dtype, here)
        for shape, flops in work.products.items()
    )
    if work.attention:
        shape = _cut_attention(_typical(work.attention), budget)
        seconds += sum(work.attention.values()) / _attention_rate(shape, torch_dtype, here)
    seconds += work.moved_bytes / device.bandwidth + work.random_numbers / _random_rate(here)
    calls = work.num_calls * _call_seconds(here)
    # A GPU computes while the next call is prepared; a processor does one after the other.
    return max(seconds, calls) if device.kind == "cuda" else seconds + calls


def _cut(shape: ProductShape, max_flops: float) -> ProductShape:
    """The same product with its longest side shorter, where it would take too long to measure."""
    sides = list(shape)
    while 2.0 * sides[0] * sides[1] * sides[2] * sides[3] > max_flops and max(sides) > 1:
        longest = sides.index(max(sides))
        sides[longest] = max(1, sides[longest] // 2)
    return (sides[0], sides[1], sides[2], sides[3])


def _typical(attention: Mapping[AttentionShape, float]) -> AttentionShape:
    """The mean shape, each counting by its work: calls of a forest differ in their lengths."""
    total = sum(attention.values())

    def mean(side: int) -> int:
        return max(1, round(sum(shape[side] * flops for shape, flops in attention.items()) / total))

    return (mean(0), mean(1), mean(2), mean(3))


def _cut_attention(shape: AttentionShape, max_flops: float) -> AttentionShape:
    heads, queries, keys, size = shape
    while 14.0 * heads * queries * keys * size > 4 * max_flops and max(heads, queries, keys) > 1:
        if heads > 1:
            heads //= 2
        elif queries >= keys:
            queries //= 2
        else:
            keys //= 2
    return (heads, queries, keys, size)


@functools.cache
def _product_rate(shape: ProductShape, dtype: torch.dtype, device: torch.device) -> float:
    batch, rows, inner, columns = shape
    left = torch.ones(batch, rows, inner, dtype=dtype, device=device)
    right = torch.ones(batch, inner, columns, dtype=dtype, device=device)
    multiply = torch.bmm if batch > 1 else torch.mm
    factors = (left, right) if batch > 1 else (left[0], right[0])
    return 2.0 * batch * rows * inner * columns / best_seconds(lambda: multiply(*factors), device)


@functools.cache
def _attention_rate(shape: AttentionShape, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s forward and backward, under a mask as a forest has it."""
    heads, queries, keys, size = shape

    def made(length: int) -> Tensor:
        return torch.ones(1, heads, length, size, dtype=dtype, device=device, requires_grad=True)

    query, key, value = made(queries), made(keys), made(keys)
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    mask[:, 0] = True

    def run() -> None:
        scaled_dot_product_attention(query, key, value, mask).sum().backward()  # type: ignore[no-untyped-call]

    return 14.0 * heads * queries * keys * size / best_seconds(run, device)


@functools.cache
def _random_rate(device: torch.device) -> float:
    """Numbers a second that dropout draws."""
    given = torch.empty(_RANDOM_NUMBERS, device=device)
    return _RANDOM_NUMBERS / best_seconds(lambda: given.bernoulli_(0.9), device)


@functools.cache
def _call_seconds(device: torch.device) -> float:
    """What a call costs beside its arithmetic, Python and autograd included: a model too small for any."""
    model = nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.LayerNorm(4), nn.Linear(4, 4)).to(device)
    given = torch.ones(2, 4, device=device)

    def run() -> None:
        model(given).sum().backward()

    seen = Alive(beside=model.parameters())
    with seen:
        run()
    return best_seconds(run, device) / seen.tally.work().num_calls
