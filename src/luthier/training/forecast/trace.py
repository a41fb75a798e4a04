"""What a step of training holds and computes, found without weights: the real code, run on tensors without numbers.

The model is made from its config as shapes (torch's FakeTensorMode: every operation gives shapes and dtypes, nothing is
allocated or computed), its method is applied, and one micro-batch goes forward and backward through it. A dispatch mode
sees every tensor come and go, and counts the products. So what the layers save for the backward pass is not a
formula to maintain: an architecture, a method or a kernel that saves other things is measured as it is. Knows
nothing of devices, steps or data files; what a real process holds beyond its tensors stands in `memory`.
"""

import contextlib
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from luthier.data.batches import Batch, MicroBatch
from luthier.errors import LuthierError, ModelError
from luthier.models.attention import use_forest_attention
from luthier.models.forward import CausalParts, split_causal
from luthier.models.layers import decoder_layers, lowest_trained, only_span
from luthier.models.methods import count_parameters
from luthier.training.forecast.alive import Alive, num_bytes, settler
from luthier.training.forecast.shapes import held_tensors, model_of_shapes
from luthier.training.forecast.work import NO_WORK, Work
from luthier.training.learner import Learner, precision
from luthier.training.objectives.cross_entropy import chosen_cross_entropy

_CPU = torch.device("cpu")
_KNOWS_LAYERS_BY_NAME = ("freeze",)
_EXTRAPOLATED = (
    "base_bytes",
    "trained_bytes",
    "gradient_bytes",
    "activation_bytes",
    "saved_bytes",
    "step_bytes",
    "trained_parameters",
    "all_parameters",
    "trunk_layers",
    "trunk_bytes",
)


@dataclass(frozen=True)
class Trace:
    """One micro-batch forward and backward: bytes held and work done, as exact as shapes are.

    base_bytes: weights that do not train, and buffers; trained_bytes: weights that train, in their master dtype.
    gradient_bytes: one gradient for each. activation_bytes: the most that is alive beside weights and gradients, at any
    moment, of which saved_bytes stand at the end of the forward pass and the rest is the loss and what a layer's
    backward pass needs for a moment. step_bytes: the most that is alive beside weights, when no gradient was there
    before. trained: name and shape of each parameter that trains (optimizers differ in what they keep of them).
    trunk_layers: how many layers below the lowest trained one are computed once, before the first step, and not in it;
    trunk_bytes: their weights; trunk_step_bytes, trunk_work: what is alive, and done, when the micro-batch passes them.
    """

    base_bytes: int
    trained_bytes: int
    gradient_bytes: int
    activation_bytes: int
    saved_bytes: int
    step_bytes: int
    work: Work
    trained_parameters: int
    all_parameters: int
    trained: tuple[tuple[str, tuple[int, ...]], ...]
    largest_weight_bytes: int
    trunk_layers: int
    trunk_bytes: int
    trunk_step_bytes: int
    trunk_work: Work


def trace(
    config: Any,
    method: Any,
    batch: Batch,
    dtype: torch.dtype,
    *,
    checkpointing: bool = False,
    trunk: bool = False,
) -> Trace:
    """Trace `batch` through a model of `config` (transformers') under `method`, with products in `dtype`.

    `trunk`: frozen lower layers are computed apart (see training.trunk), where the method freezes any.
    Of a deep model two shallow ones are traced and the rest is a straight line: layers are alike. Raises ModelError
    where the architecture or method cannot run on shapes alone, ConfigError as the method does.
    """
    few = 2 + int(getattr(method, "num_layers", None) or 0)  # with one, the highest would be the lowest too
    more = few + 1
    depth = int(getattr(config, "num_hidden_layers", 0) or 0)
    if depth > more and method.name not in _KNOWS_LAYERS_BY_NAME:
        with contextlib.suppress(ModelError):  # an architecture whose layers are not alike is traced whole
            low, high = (
                _run(_shallow(config, n), method, batch, dtype, checkpointing, trunk) for n in (few, more)
            )
            return _line(low, high, depth - few)
    return _run(config, method, batch, dtype, checkpointing, trunk)


def _shallow(config: Any, num_layers: int) -> Any:
    shallow = deepcopy(config)
    if isinstance(kinds := getattr(shallow, "layer_types", None), list):
        shallow.layer_types = kinds[:num_layers]
    shallow.num_hidden_layers = num_layers
    return shallow


def _line(low: Trace, high: Trace, times: int) -> Trace:
    """The trace `times` as far from `low` as `high` is. Names of trained parameters beyond `high` are not needed:
    their shapes repeat those by which `high` exceeds `low`."""
    numbers = {
        name: getattr(low, name) + (getattr(high, name) - getattr(low, name)) * times
        for name in _EXTRAPOLATED
    }
    known = {name for name, _ in low.trained}
    repeated = [one for one in high.trained if one[0] not in known]
    trained = [*low.trained, *(repeated * times)]
    whole = {name: round(value) for name, value in numbers.items()}
    return replace(
        low,
        **whole,
        work=low.work.line(high.work, times),
        trained=tuple(trained),
        trunk_work=low.trunk_work.line(high.trunk_work, times),
    )


def _run(
    config: Any, method: Any, batch: Batch, dtype: torch.dtype, checkpointing: bool, trunk: bool
) -> Trace:
    try:
        return _trace(config, method, batch, dtype, checkpointing, trunk)
    except LuthierError:
        raise
    except Exception as error:  # whatever a foreign architecture does with numbers that are not there
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{config.model_type} with {method.name} cannot be run on shapes alone: {said}"
        ) from error


def _trace(
    config: Any, method: Any, batch: Batch, dtype: torch.dtype, checkpointing: bool, trunk: bool
) -> Trace:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = model_of_shapes(config, method, dtype, mode)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if not isinstance(batch, MicroBatch):
        use_forest_attention(model)
    model.train()
    parts = split_causal(model)
    learner = Learner(model, parts, _CPU)
    alive, below = (Alive(beside=held_tensors(model)) for _ in range(2))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(settler(alive))
    depth = _trunk_layers(parts) if trunk else 0
    with learner.laid_out(batch), mode:  # the layout is made of numbers, before they end
        with alive, _crown(parts, batch, depth, dtype):
            with precision(_CPU, dtype):
                hidden = _hidden(parts, batch)
                saved = alive.alive
                loss = _loss(parts, hidden)
            loss.backward()  # type: ignore[no-untyped-call]
        if depth:
            with below, torch.no_grad(), precision(_CPU, dtype), only_span(_layers(parts), 0, depth):
                _hidden(parts, batch)
    return _counted(model, alive, saved, depth, below)


def _layers(parts: CausalParts) -> Any:
    return decoder_layers(parts.backbone)


def _trunk_layers(parts: CausalParts) -> int:
    """How many layers a trunk has; 0 where there is none, as training.trunk.find_trunk has it."""
    layers = _layers(parts)
    if layers is None or parts.virtual is not None:
        return 0
    depth = lowest_trained(layers)
    apart = {id(parameter) for layer in layers for parameter in layer.parameters()}
    embeddings: Any = parts.backbone.get_input_embeddings()  # type: ignore[operator]
    trains = any(p.requires_grad and id(p) not in apart for p in embeddings.parameters())
    return 0 if trains or depth == len(layers) else depth


def _crown(parts: CausalParts, batch: Batch, depth: int, dtype: torch.dtype) -> Any:
    """Inside, the layers above `depth` run alone, on states that are read."""
    if not depth:
        return contextlib.nullcontext()
    channels = int(parts.backbone.get_input_embeddings().weight.shape[1])  # type: ignore[operator]
    places = batch.token_ids_BT.shape if isinstance(batch, MicroBatch) else (1, batch.num_nodes)
    states_BTC = torch.empty(*places, channels, dtype=dtype)
    return only_span(_layers(parts), depth, len(_layers(parts)), states_BTC)


def _counted(model: Any, alive: Alive, saved: int, depth: int, below: Alive) -> Trace:
    trained = [p for p in model.parameters() if p.requires_grad]
    trained_bytes = sum(num_bytes(p) for p in trained)
    held = sum(map(num_bytes, held_tensors(model)))
    trained_count, all_count = count_parameters(model)
    trunk = list(_layers(split_causal(model)))[:depth] if depth else []
    return Trace(
        base_bytes=held - trained_bytes,
        trained_bytes=trained_bytes,
        gradient_bytes=trained_bytes,
        activation_bytes=alive.peak,
        saved_bytes=saved,
        step_bytes=alive.peak_with_settled,
        work=alive.tally.work(),
        trained_parameters=trained_count,
        all_parameters=all_count,
        trained=tuple((n, tuple(p.shape)) for n, p in model.named_parameters() if p.requires_grad),
        largest_weight_bytes=max(num_bytes(p) for p in model.parameters()),
        trunk_layers=depth,
        trunk_bytes=sum(num_bytes(p) for layer in trunk for p in layer.parameters()),
        trunk_step_bytes=below.peak,
        trunk_work=below.tally.work() if depth else NO_WORK,
    )


def _hidden(parts: CausalParts, batch: Batch) -> Tensor:
    """The hidden states that the loss looks at, (M, C): as `Learner.outputs`, with every position known beforehand."""
    if isinstance(batch, MicroBatch):
        hidden_BTC = parts.hidden_states(torch.from_numpy(batch.token_ids_BT))
        return hidden_BTC.flatten(0, 1)[torch.zeros(batch.num_supervised, dtype=torch.int64)]
    hidden_NC = parts.forest_states(torch.from_numpy(batch.token_ids_N), torch.from_numpy(batch.depths_N))
    return hidden_NC[torch.zeros(int((batch.weights_N != 0).sum()), dtype=torch.int64)]


def _loss(parts: CausalParts, hidden_MC: Tensor) -> Tensor:
    targets_M = torch.zeros(len(hidden_MC), dtype=torch.int64)
    return chosen_cross_entropy(hidden_MC, parts.head(), targets_M, torch.ones(len(hidden_MC)))[0]
