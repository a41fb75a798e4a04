"""Layers of a model in training made lean: the same numbers, fewer copies of activations, fewer passes over them.

    lora linear    PEFT's layer around a plain linear one: both halves in one sum (models.lean.linear)
    dora linear    one product kept, the norms of its rows without the sum of both matrices (models.lean.dora)
    gated MLP      down(act(gate(x)) * up(x)): the product is made again in the backward pass
    RMS norm       keeps its input and one number a token (models.lean.norm)

Only `forward` of single modules is replaced, so names, weights, saving and merging are untouched. A norm or an MLP is
replaced where it gives, on random numbers, what its own code gives; whatever else a model has stays as it is.
Knows nothing of data and steps.
"""

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.kept import KeptLinear, compute_dtypes
from luthier.models.lean.dora import dora_linear, row_norms
from luthier.models.lean.linear import gated_linear, linear
from luthier.models.lean.norm import rms_norm

Twin = Callable[[nn.Module], nn.Module]

_PROBE_TOKENS = 3


def make_lean(model: nn.Module, twin: Twin = lambda module: module) -> int:
    """Replace what can be replaced; returns how many modules were.

    `twin`: what a norm or an MLP is tried on. Itself, but where a model has shapes alone: there one like it, with
    numbers.
    """
    count = 0
    for module in model.modules():
        forward = _replacement(module, twin)
        if forward is not None:
            module.forward = types.MethodType(forward, module)
            count += 1
    return count


def _replacement(module: nn.Module, twin: Twin) -> Any:
    if _is_lora(module):
        return _lora_forward
    if _is_norm(module, twin):
        return _norm_forward
    if _is_gated_mlp(module, twin):
        return _mlp_forward
    return None


# LoRA


def _is_lora(module: nn.Module) -> bool:
    """PEFT's plain layer around a plain linear one: no quantised weights, no transposed ones."""
    if "peft" not in type(module).__module__:
        return False
    from peft.tuners.lora.layer import Linear

    return type(module) is Linear and _is_plain(module.base_layer) and not module.fan_in_fan_out


def _is_plain(module: Any) -> bool:
    return type(module) in (nn.Linear, KeptLinear)


def _magnitude(module: Any) -> Tensor | None:
    """DoRA's lengths of rows, where the adapter of a layer is one."""
    from peft.tuners.lora.variants import DoraLinearVariant

    name = module.active_adapters[0]
    if type(module.lora_variant.get(name)) is not DoraLinearVariant or module.base_layer.weight.requires_grad:
        return None
    magnitude: Tensor = module.lora_magnitude_vector[name].weight
    return magnitude


def _factors(module: Any, x: Tensor) -> tuple[Any, ...] | None:
    """(weight, bias, A, B, scaling, dropout) of a linear layer as it is to compute now; None: by its own code."""
    if _is_plain(module):
        weights: tuple[Any, ...] = (module.weight, module.bias, None, None)
        numbers: tuple[float, float] = (1.0, 0.0)
    elif not _is_lora(module) or module.merged or len(module.active_adapters) != 1:
        return None
    else:
        name = module.active_adapters[0]
        base = module.base_layer
        if module.disable_adapters or name not in module.lora_A:
            weights, numbers = (base.weight, base.bias, None, None), (1.0, 0.0)
        elif (
            (name in module.lora_variant and _magnitude(module) is None)
            or module.lora_A[name].bias is not None
            or module.lora_bias[name]
        ):
            return None
        else:
            weights = (base.weight, base.bias, module.lora_A[name].weight, module.lora_B[name].weight)
            dropout = module.lora_dropout[name]
            p = float(dropout.p) if isinstance(dropout, nn.Dropout) and module.training else 0.0
            numbers = (float(module.scaling[name]), p)
    if x.device.type != "cpu" and numbers[1]:
        return None  # there the mask would be drawn otherwise than torch draws it
    if torch.is_autocast_enabled(x.device.type):
        low = torch.get_autocast_dtype(x.device.type)
        if x.dtype != low:
            return None
        weights = tuple(w.to(low) if w is not None else None for w in weights)
    elif not _may_be_narrow(weights[0], x) or any(w is not None and w.dtype != x.dtype for w in weights[1:]):
        return None
    return *weights, *numbers


def _may_be_narrow(weight: Tensor, x: Tensor) -> bool:
    """Is a weight in the dtype of its input, or frozen and kept in a narrower one?"""
    if weight.requires_grad:
        return weight.dtype == x.dtype
    return torch.promote_types(weight.dtype, x.dtype) == x.dtype


def _compute_dtype(x: Tensor) -> Tensor:
    """The input in the dtype that products are computed in."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _lora_forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    x = _compute_dtype(x)
    factors = None if args or kwargs else _factors(self, x)
    if factors is None:
        result: Tensor = type(self).forward(self, x, *args, **kwargs)
        return result
    magnitude = _magnitude(self) if factors[2] is not None else None
    if magnitude is None:
        return linear(x, *factors)
    name = self.active_adapters[0]
    lengths = row_norms(
        self.base_layer.weight, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    )
    return dora_linear(x, magnitude / lengths, *factors)


# Norms


def _is_norm(module: nn.Module, twin: Twin) -> bool:
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not isinstance(weight, Tensor) or weight.ndim != 1 or not isinstance(epsilon, float):
        return False
    module = twin(module)
    weight = module._parameters["weight"]
    if weight is None:
        return False
    return _agrees(module, weight, lambda x, w: rms_norm(x, w, epsilon))


def _agrees(module: nn.Module, weight: Tensor, ours: Any) -> bool:
    """Does the module give, with random numbers for its weight, what `ours` gives?"""
    random = torch.Generator().manual_seed(0)
    device = (
        "cpu" if weight.is_meta else weight.device
    )  # a layer that is read when it is wanted has no numbers
    x = torch.randn(_PROBE_TOKENS, len(weight), generator=random).to(device, weight.dtype)
    w = torch.randn(len(weight), generator=random).to(device, weight.dtype)
    with torch.no_grad():
        try:
            expected = torch.func.functional_call(module, {"weight": w}, (x,))
        except (TypeError, RuntimeError):
            return False
        return _close(ours(x, w), expected)


def _close(got: Tensor, expected: Tensor) -> bool:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    tolerance = 8 * torch.finfo(expected.dtype).eps * float(expected.abs().max())
    return float((got - expected).abs().max()) <= tolerance


def _norm_forward(self: Any, hidden_states: Tensor) -> Tensor:
    if hidden_states.dtype != self.weight.dtype:
        result: Tensor = type(self).forward(self, hidden_states)
        return result
    return rms_norm(hidden_states, self.weight, self.variance_epsilon)


# Gated MLPs


def _is_gated_mlp(module: nn.Module, twin: Twin) -> bool:
    children = dict(module.named_children())
    if not {"gate_proj", "up_proj", "down_proj", "act_fn"} <= children.keys() or len(children) != 4:
        return False
    down = children["down_proj"]
    if not (_is_lora(down) or _is_plain(down)) or getattr(down, "lora_variant", None):
        return False
    if getattr(children["act_fn"], "inplace", False):
        return False
    module = twin(module)
    down, gate = module.get_submodule("down_proj"), module.get_submodule("gate_proj")
    if next(down.parameters()).is_meta:
        return False
    inputs = int(getattr(gate, "in_features", 0))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(_PROBE_TOKENS, inputs, generator=random)
    x = x.to(next(down.parameters()).device, max(compute_dtypes(gate), key=lambda dtype: dtype.itemsize))
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            return _close(_mlp_forward(module, x), type(module).forward(module, x))
    except (TypeError, RuntimeError):
        return False
    finally:
        module.train(training)


def _mlp_forward(self: Any, x: Tensor) -> Tensor:
    gate, up = self.gate_proj(x), self.up_proj(x)
    factors = _factors(self.down_proj, gate)
    if factors is None:
        result: Tensor = self.down_proj(self.act_fn(gate) * up)
        return result
    return gated_linear(gate, up, self.act_fn, *factors)
