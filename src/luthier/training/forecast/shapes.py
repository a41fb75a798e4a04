"""The model that would train, as shapes: made from its config without weights, method and lean layers applied.

First on torch's meta device, then on tensors without numbers that take the ways of the processor. Knows nothing of
batches and of what is counted.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from luthier.errors import ModelError
from luthier.models.lean import make_lean
from luthier.models.methods import apply_method
from luthier.models.methods.low_rank import adapt_linear, apply_lora
from luthier.models.quantized import Quantization, bitsandbytes_config
from luthier.training.method_config import base_quantization

_NARROW, _WIDE = 8, 16
_BLOCK = 64  # weights that share a scale in nf4; with double quantisation 256 of the scales share one too
_BLOCK_OF_SCALES = 256


def model_of_shapes(config: Any, method: Any, dtype: torch.dtype, mode: FakeTensorMode) -> Any:
    """The model of `config` (transformers') under `method`, its tensors in `mode`. Raises ModelError, ConfigError."""
    from transformers import AutoModelForCausalLM

    master = torch.float64 if dtype == torch.float64 else torch.float32
    quantization = base_quantization(method)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)
        if quantization is not None:
            _quantise(model, quantization, dtype)
            model = adapt_linear(model, method, "", master, init=True)
        else:
            # PiSSA is a LoRA that starts elsewhere, and there is nothing to decompose here.
            apply = apply_lora if method.name == "pissa" else apply_method
            model = apply(model, method, "", master)
    make_lean(model, _twin)
    _give_storage(model, mode)
    return model


def held_tensors(model: nn.Module) -> list[Tensor]:
    """Every tensor that the model holds: weights, buffers, and the scales of quantised weights."""
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        tensors += _scales(getattr(parameter, "quant_state", None))
    return tensors


def _twin(module: nn.Module) -> nn.Module:
    """A norm with numbers, or a small gated MLP of the same kind, for the lean layers to be tried on."""
    twin = copy.copy(module)
    twin._modules, twin._parameters = dict(module._modules), dict(module._parameters)
    for name, weight in twin._parameters.items():
        if weight is not None:
            twin._parameters[name] = nn.Parameter(torch.ones(weight.shape, dtype=weight.dtype))
    sizes = {"gate_proj": (_NARROW, _WIDE), "up_proj": (_NARROW, _WIDE), "down_proj": (_WIDE, _NARROW)}
    for name, (inputs, outputs) in sizes.items():
        if name in twin._modules:
            twin._modules[name] = nn.Linear(inputs, outputs, bias=False)
    return twin


def _quantise(model: nn.Module, quantization: Quantization, dtype: torch.dtype) -> None:
    """Give the linear layers of a model on the meta device the shapes of a base in nf4."""
    if quantization.kind != "nf4":
        raise ModelError(
            f"a base in {quantization.kind} is not forecast: its products are not torch's; use --measure"
        )
    config = bitsandbytes_config(quantization, dtype)  # says so where bitsandbytes is absent
    from bitsandbytes.nn import Linear4bit, Params4bit
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

    kept = Bnb4BitHfQuantizer.get_modules_to_not_convert(model)
    replace_with_bnb_linear(model, modules_to_not_convert=kept, quantization_config=config)
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            packed = torch.empty((layer.weight.numel() + 1) // 2, 1, dtype=torch.uint8)
            layer.quant_state = _state(layer.weight.shape, dtype, quantization.double)
            layer.weight = Params4bit(
                packed, requires_grad=False, quant_state=layer.quant_state, bnb_quantized=True,
                compress_statistics=quantization.double, quant_type="nf4", module=layer,
            )  # fmt: skip
    model.is_loaded_in_4bit = True  # type: ignore[assignment]


def _state(shape: torch.Size, dtype: torch.dtype, double: bool) -> Any:
    from bitsandbytes.functional import QuantState

    num_scales = -(-shape.numel() // _BLOCK)
    table = torch.empty(16)
    numbers: dict[str, Any] = {
        "shape": shape,
        "code": table,
        "blocksize": _BLOCK,
        "quant_type": "nf4",
        "dtype": dtype,
    }
    if not double:
        return QuantState(absmax=torch.empty(num_scales), **numbers)
    second = QuantState(
        absmax=torch.empty(-(-num_scales // _BLOCK_OF_SCALES)), code=torch.empty(256),
        blocksize=_BLOCK_OF_SCALES, dtype=torch.float32,
    )  # fmt: skip
    scales = torch.empty(num_scales, dtype=torch.uint8)
    return QuantState(absmax=scales, offset=torch.empty(()), state2=second, **numbers)


def _scales(state: Any) -> list[Tensor]:
    if state is None:
        return []
    own = [one for one in (state.absmax, state.code, state.offset) if one is not None]
    return own + _scales(state.state2)


def _give_storage(model: Any, mode: FakeTensorMode) -> None:
    """Replace every tensor of the model by one without numbers that takes the ways of the CPU; tied ones stay tied."""
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            with mode:
                new = torch.empty(tensor.shape, dtype=tensor.dtype)
            made[id(tensor)] = _as_before(tensor, new, fake)
        return made[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = fake(tensor)


def _as_before(tensor: Tensor, new: Tensor, fake: Callable[[Tensor], Tensor]) -> Tensor:
    if not isinstance(tensor, nn.Parameter):
        return new
    state = getattr(tensor, "quant_state", None)
    parameter = nn.Parameter(new, requires_grad=tensor.requires_grad)
    if state is not None:
        parameter.quant_state = state  # type: ignore[attr-defined]
        while state is not None:
            for name in ("absmax", "code", "offset"):
                if getattr(state, name) is not None:
                    setattr(state, name, fake(getattr(state, name)))
            state = state.state2
    return parameter
