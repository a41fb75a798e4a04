"""What a step of training holds and computes, found without weights: the real code, run on tensors without numbers.

The model is made from its config as shapes (torch's FakeTensorMode: every operation gives shapes and dtypes, nothing is
allocated or computed), its method is applied, and one micro-batch goes forward and backward through it. A dispatch mode
sees every tensor come and go, and counts the products. So what the layers save for the backward pass is not a
formula to maintain: an architecture, a method or a kernel that saves other things is measured as it is. Knows
nothing of devices, steps or data files; what a real process holds beyond its tensors stands in `memory`.
"""

import contextlib
import weakref
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from luthier.data.batches import Batch, MicroBatch
from luthier.errors import LuthierError, ModelError
from luthier.models.attention import use_forest_attention
from luthier.models.forward import CausalParts, split_causal
from luthier.models.methods import apply_method, count_parameters
from luthier.models.methods.low_rank import apply_lora
from luthier.training.forecast.work import Tally, Work
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
)


@dataclass(frozen=True)
class Trace:
    """One micro-batch forward and backward: bytes held and work done, as exact as shapes are.

    base_bytes: weights that do not train, and buffers; trained_bytes: weights that train, in their master dtype.
    gradient_bytes: one gradient for each. activation_bytes: the most that is alive beside weights and gradients, at any
    moment, of which saved_bytes stand at the end of the forward pass and the rest is the loss and what a layer's
    backward pass needs for a moment. step_bytes: the most that is alive beside weights, when no gradient was there
    before. trained: name and shape of each parameter that trains (optimizers differ in what they keep of them).
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


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive, and the work."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.settled = self.peak_with_settled = 0
        self.tally = Tally()
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.tally.add(func, args, kwargs or {}, out)
        for one in tree_iter(out):
            if isinstance(one, Tensor):
                self._see(one)
        return out

    def ignore(self, tensor: Tensor) -> None:
        """Weights are counted by whoever made them."""
        storage = tensor.untyped_storage()
        self._known[id(storage)] = weakref.ref(storage)

    def settle(self, num_bytes: int) -> None:
        """A gradient found its place: it stays, and is no activation any more."""
        self.alive -= num_bytes
        self.settled += num_bytes

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, num_bytes = id(storage), storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            del self._known[key]
            self.alive -= num_bytes

        self._known[key] = weakref.ref(storage, gone)
        self.alive += num_bytes
        self.peak = max(self.peak, self.alive)
        self.peak_with_settled = max(self.peak_with_settled, self.alive + self.settled)


def trace(
    config: Any, method: Any, batch: Batch, dtype: torch.dtype, *, checkpointing: bool = False
) -> Trace:
    """Trace `batch` through a model of `config` (transformers') under `method`, with products in `dtype`.

    Of a deep model two shallow ones are traced and the rest is a straight line: layers are alike. Raises ModelError
    where the architecture or method cannot run on shapes alone, ConfigError as the method does.
    """
    few = 2 + int(getattr(method, "num_layers", None) or 0)
    more = few + 2
    depth = int(getattr(config, "num_hidden_layers", 0) or 0)
    if depth > more + 2 and method.name not in _KNOWS_LAYERS_BY_NAME:
        with contextlib.suppress(ModelError):  # an architecture whose layers are not alike is traced whole
            low, high = (_run(_shallow(config, n), method, batch, dtype, checkpointing) for n in (few, more))
            return _line(low, high, (depth - few) / (more - few))
    return _run(config, method, batch, dtype, checkpointing)


def _shallow(config: Any, num_layers: int) -> Any:
    shallow = deepcopy(config)
    if isinstance(kinds := getattr(shallow, "layer_types", None), list):
        shallow.layer_types = kinds[:num_layers]
    shallow.num_hidden_layers = num_layers
    return shallow


def _line(low: Trace, high: Trace, times: float) -> Trace:
    """The trace `times` as far from `low` as `high` is. Names of trained parameters beyond `high` are not needed:
    their shapes repeat those by which `high` exceeds `low`."""
    numbers = {
        name: getattr(low, name) + (getattr(high, name) - getattr(low, name)) * times
        for name in _EXTRAPOLATED
    }
    added = high.trained[: len(high.trained)]
    known = {name for name, _ in low.trained}
    repeated = [one for one in added if one[0] not in known]
    trained = [*low.trained, *(repeated * round(times))]
    whole = {name: round(value) for name, value in numbers.items()}
    return replace(low, **whole, work=low.work.line(high.work, times), trained=tuple(trained))


def _run(config: Any, method: Any, batch: Batch, dtype: torch.dtype, checkpointing: bool) -> Trace:
    try:
        return _trace(config, method, batch, dtype, checkpointing)
    except LuthierError:
        raise
    except Exception as error:  # whatever a foreign architecture does with numbers that are not there
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{config.model_type} with {method.name} cannot be run on shapes alone: {said}"
        ) from error


def _trace(config: Any, method: Any, batch: Batch, dtype: torch.dtype, checkpointing: bool) -> Trace:
    model = _shapes(config, method, dtype)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    forest = not isinstance(batch, MicroBatch)
    if forest:
        use_forest_attention(model)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    _give_fake_storage(model, mode)
    model.train()
    parts = split_causal(model)
    learner = Learner(model, parts, _CPU)
    alive = _Alive()
    tensors = [*model.parameters(), *model.buffers()]
    for tensor in tensors:
        alive.ignore(tensor)
    hooks = [
        p.register_post_accumulate_grad_hook(_settler(alive)) for p in model.parameters() if p.requires_grad
    ]
    with learner.laid_out(batch), mode, alive:  # the layout is made of numbers, before they end
        with precision(_CPU, dtype):
            hidden = _hidden(parts, batch)
            saved = alive.alive
            loss = _loss(parts, hidden)
        loss.backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    return _counted(model, alive, saved)


def _counted(model: Any, alive: _Alive, saved: int) -> Trace:
    trained = [p for p in model.parameters() if p.requires_grad]
    trained_bytes = sum(_bytes(p) for p in trained)
    held = sum(_bytes(t) for t in [*model.parameters(), *model.buffers()])
    trained_count, all_count = count_parameters(model)
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
        largest_weight_bytes=max(_bytes(p) for p in model.parameters()),
    )


def _shapes(config: Any, method: Any, dtype: torch.dtype) -> Any:
    """The model that would train, on torch's meta device."""
    from transformers import AutoModelForCausalLM

    master = torch.float64 if dtype == torch.float64 else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(deepcopy(config), dtype=dtype)
        # PiSSA is a LoRA that starts elsewhere, and there is nothing to decompose here.
        apply = apply_lora if method.name == "pissa" else apply_method
        return apply(model, method, "", master)


def _give_fake_storage(model: Any, mode: FakeTensorMode) -> None:
    """Replace every tensor of the model by one without numbers that takes the ways of the CPU; tied ones stay tied."""
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            with mode:
                new = torch.empty(tensor.shape, dtype=tensor.dtype)
            made[id(tensor)] = (
                nn.Parameter(new, requires_grad=tensor.requires_grad)
                if isinstance(tensor, nn.Parameter)
                else new
            )
        return made[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = fake(tensor)


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


def _settler(alive: _Alive) -> Any:
    return lambda parameter: alive.settle(_bytes(parameter))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
