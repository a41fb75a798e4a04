"""Adapters over the layers of a base: who of a step's tokens goes through which, and the layers that ask.

Only the `forward` of a layer that some mounted adapter changes is replaced; weights, names and the tree of modules stay
as they are. A layer that no adapter of the step changes costs one look into a dictionary. Tokens of different adapters
go through one product where the change is low-rank (see low_rank), and run by run where it is not.
This file knows nothing of files, caches or requests.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from luthier.errors import ServingError
from luthier.serving.engines.torch.low_rank import Block, Place, Stacks
from luthier.serving.engines.torch.overlay import Overlay, Scale

_running = threading.local()


@dataclass(eq=False)
class Laid:
    """An adapter that is mounted. place: where its low-rank matrices are, which the overlay has no more."""

    overlay: Overlay
    place: Place | None = None


@dataclass(frozen=True)
class Run:
    """Tokens `start` to `end` - 1 of a step are rows of `laid`; None: of the base."""

    start: int
    end: int
    laid: Laid | None


@dataclass(frozen=True)
class _Product:
    """Tokens that share a product with some ranks of a block. own_NR: None where all ranks are everybody's."""

    start: int
    end: int
    block: Block
    first_rank: int
    end_rank: int
    own_NR: Tensor | None


@dataclass(frozen=True)
class _Stacked:
    """A product at one layer."""

    start: int
    end: int
    a_IR: Tensor
    b_RO: Tensor
    own_NR: Tensor | None


@dataclass
class Plan:
    """The adapters of one step's tokens. `runs` lie one after the other and cover all `num_tokens`."""

    num_tokens: int
    runs: Sequence[Run]
    products: Sequence[_Product]
    _at: dict[str, tuple[list[_Stacked], list[tuple[Run, Scale]]]] = field(default_factory=dict)

    def at(self, site: str) -> tuple[list[_Stacked], list[tuple[Run, Scale]]]:
        """What happens at a linear layer: products, and runs whose inputs or outputs are scaled."""
        found = self._at.get(site)
        if found is None:
            found = (self._stacked(site), self._scaled(site))
            self._at[site] = found
        return found

    def _stacked(self, site: str) -> list[_Stacked]:
        return [
            _Stacked(
                one.start,
                one.end,
                one.block.a[site][one.first_rank : one.end_rank].T,
                one.block.b[site][one.first_rank : one.end_rank],
                one.own_NR,
            )
            for one in self.products
            if site in one.block.a
        ]

    def _scaled(self, site: str) -> list[tuple[Run, Scale]]:
        laid = [(run, run.laid.overlay.scales.get(site)) for run in self.runs if run.laid is not None]
        return [(run, scale) for run, scale in laid if scale is not None]


def plan(laid_T: Sequence[Laid | None], num_mixed: int) -> Plan:
    """laid_T: the adapter of each token. The first `num_mixed` tokens share products whatever their adapters are; those
    behind them, stretches of prompts, take one for each run."""
    runs = _runs(laid_T)
    products = _mixed_products(laid_T[:num_mixed])
    for run in runs:
        if run.end > num_mixed and run.laid is not None and (place := run.laid.place) is not None:
            start = max(run.start, num_mixed)
            products.append(_Product(start, run.end, place.block, place.start, place.end, None))
    return Plan(len(laid_T), runs, products)


def _runs(laid_T: Sequence[Laid | None]) -> list[Run]:
    runs, start = [], 0
    for end in range(1, len(laid_T) + 1):
        if end == len(laid_T) or laid_T[end] is not laid_T[start]:
            runs.append(Run(start, end, laid_T[start]))
            start = end
    return runs


def _mixed_products(laid_T: Sequence[Laid | None]) -> list[_Product]:
    places = [one.place if one is not None else None for one in laid_T]
    blocks = {id(place.block): place.block for place in places if place is not None}
    products = []
    for block in blocks.values():
        here = [place if place is not None and place.block is block else None for place in places]
        taken = [place for place in here if place is not None]
        first, end = min(place.start for place in taken), max(place.end for place in taken)
        own_NR = None
        if len(taken) < len(here) or any(place is not taken[0] for place in taken):
            own_NR = torch.zeros(len(here), end - first, dtype=block.dtype)
            for token, place in enumerate(here):
                if place is not None:
                    own_NR[token, place.start - first : place.end - first] = 1
            own_NR = own_NR.to(block.device)
        products.append(_Product(0, len(here), block, first, end, own_NR))
    return products


class planned:
    """A context: while it lasts, a forward pass in this thread goes through the adapters of `plan`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __enter__(self) -> None:
        _running.plan = self.plan

    def __exit__(self, *_: object) -> None:
        _running.plan = None


class Sites:
    """The layers of one base that mounted adapters change."""

    def __init__(self, model: nn.Module, stacks: Stacks) -> None:
        self._model, self._stacks = model, stacks

    def lay(self, overlay: Overlay) -> Laid:
        """Make an adapter ready for plans. Raises ServingError where a layer cannot take it."""
        for site in [*overlay.factors, *overlay.scales]:
            self._change(site, _adapted_linear)
        for site in overlay.bottlenecks:
            self._change(site, _followed)
        place = self._stacks.put(overlay.factors) if overlay.factors else None
        return Laid(replace(overlay, factors={}), place)

    def take_off(self, laid: Laid) -> None:
        if laid.place is not None:
            self._stacks.remove(laid.place)

    def _change(self, site: str, change: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
        module: Any = self._model.get_submodule(site)
        if not hasattr(
            module.forward, _MARK
        ):  # what stands there asks for the plan of the thread, whoever made it
            forward = change(site, module.forward)
            setattr(forward, _MARK, True)
            module.forward = forward


_MARK = "goes_through_adapters"


def _adapted_linear(site: str, base: Callable[..., Any]) -> Callable[..., Any]:
    def forward(x: Tensor) -> Tensor:
        plan: Plan | None = getattr(_running, "plan", None)
        if plan is None or not plan.runs:
            y: Tensor = base(x)
            return y
        return _through(site, plan, base, x)

    return forward


def _through(site: str, plan: Plan, base: Callable[..., Any], x: Tensor) -> Tensor:
    stacked, scaled = plan.at(site)
    if not stacked and not scaled:
        untouched: Tensor = base(x)
        return untouched
    flat_NI = x.reshape(-1, x.shape[-1])
    if len(flat_NI) != plan.num_tokens:
        raise ServingError(
            f"{site}: expected {plan.num_tokens} tokens, got {len(flat_NI)}: this layer sees some of them only, so an "
            "adapter over it cannot share a base with others; merge it (luthier export)"
        )
    if scaled:
        flat_NI = _inputs_scaled(flat_NI, scaled)
    flat_NO: Tensor = base(flat_NI)
    for run, scale in scaled:
        _scale_outputs(flat_NO[run.start : run.end], scale)
    for one in stacked:
        inputs_NI, outputs_NO = flat_NI[one.start : one.end], flat_NO[one.start : one.end]
        low_NR = inputs_NI.to(one.a_IR.dtype) @ one.a_IR
        if one.own_NR is not None:
            low_NR *= one.own_NR
        if outputs_NO.dtype == low_NR.dtype:
            outputs_NO.addmm_(low_NR, one.b_RO)
        else:
            outputs_NO += (low_NR @ one.b_RO).to(outputs_NO.dtype)
    return flat_NO.view(*x.shape[:-1], -1)


def _scale_outputs(outputs_NO: Tensor, scale: Scale) -> None:
    if scale.output_O is not None:
        outputs_NO *= scale.output_O.to(outputs_NO.dtype)
    if scale.shift_O is not None:
        outputs_NO += scale.shift_O.to(outputs_NO.dtype)


def _inputs_scaled(flat_NI: Tensor, scaled: Sequence[tuple[Run, Scale]]) -> Tensor:
    if all(scale.input_I is None for _, scale in scaled):
        return flat_NI
    flat_NI = flat_NI.clone()
    for run, scale in scaled:
        if scale.input_I is not None:
            flat_NI[run.start : run.end] *= scale.input_I.to(flat_NI.dtype)
    return flat_NI


def _followed(site: str, base: Callable[..., Any]) -> Callable[..., Any]:
    """A sublayer, then the small network of each token's adapter. Attention answers with a tuple."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = base(*args, **kwargs)
        plan: Plan | None = getattr(_running, "plan", None)
        if plan is None:
            return output
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        flat_NC = hidden.view(plan.num_tokens, -1)
        for run in plan.runs:
            network = run.laid.overlay.bottlenecks.get(site) if run.laid is not None else None
            if network is not None:
                flat_NC[run.start : run.end] = network(flat_NC[run.start : run.end])
        return output

    return forward
