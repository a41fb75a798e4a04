"""Mixtures of experts: how evenly a router spreads the tokens over its experts.

Routing is per token, so rows that share a forest are routed as they are alone. The auxiliary loss that keeps the load
even (Fedus et al. 2021, arXiv:2101.03961) is not added: it is not a sum over tokens, so it would depend on how a step
is cut into micro-batches. The load is measured instead. Knows nothing of steps or files.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class ExpertLoad:
    """Counts the tokens of each expert, inside `over` alone. `names`: of the routers, in the order of the layers."""

    def __init__(self, routers: list[tuple[str, nn.Module, int]], num_active: int) -> None:
        self.names = [name for name, _, _ in routers]
        self._num_active = num_active
        self._counts: dict[str, Tensor] = {}
        self._totals: dict[str, Tensor] = {}
        self._counting = False
        self._real_BT: Tensor | None = None
        for name, router, place in routers:
            router.register_forward_hook(self._hook(name, place))

    @contextlib.contextmanager
    def over(self, real_BT: Tensor | None) -> Iterator[None]:
        """Inside, tokens are counted: those where `real_BT` is true, or all."""
        self._counting, self._real_BT = True, real_BT
        try:
            yield
        finally:
            self._counting, self._real_BT = False, None

    def forget(self) -> None:
        """Begin to count anew; the totals are kept."""
        self._counts = {}

    def metrics(self) -> dict[str, tuple[float, float]]:
        """Of what was counted since `forget`, each with the weight 1.

        expert_load_max: the tokens of the fullest expert over the mean of its layer, in the worst layer.
        expert_load_entropy: of the shares, over its greatest value (1: all alike), the mean over layers.
        experts_idle: the share of experts that no token went to.
        """
        if not self._counts:
            return {}
        shares_LE = _shares(self._counts)
        for name, counts_E in self._counts.items():
            self._totals[name] = self._totals.get(name, torch.zeros_like(counts_E)) + counts_E
        num_experts = shares_LE.shape[1]
        entropy_L = torch.special.entr(shares_LE).sum(1) / torch.tensor(float(num_experts)).log()
        return {
            "expert_load_max": (float(shares_LE.max()) * num_experts, 1.0),
            "expert_load_entropy": (float(entropy_L.mean()), 1.0),
            "experts_idle": (float((shares_LE == 0).double().mean()), 1.0),
        }

    def table(self) -> dict[str, list[float]]:
        """Each router's share of tokens per expert, over everything that `metrics` told of."""
        if not self._totals:
            return {}
        shares_LE = _shares(self._totals)
        return {name: shares_LE[i].tolist() for i, name in enumerate(self._totals)}

    def _hook(self, name: str, place: int) -> Any:
        def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not self._counting:
                return
            parts = output if isinstance(output, tuple) else (output,)
            logits_NE = parts[place].detach()
            logits_NE = logits_NE.reshape(-1, logits_NE.shape[-1])
            # The router's own choice where it gives it: some add a bias before they choose.
            chosen = next((p for p in parts if isinstance(p, Tensor) and not p.is_floating_point()), None)
            if chosen is None:
                chosen = logits_NE.topk(self._num_active, dim=-1).indices
            chosen_NK = chosen.reshape(len(logits_NE), -1)
            if self._real_BT is not None and self._real_BT.numel() == len(chosen_NK):
                chosen_NK = chosen_NK[self._real_BT.reshape(-1)]
            counts_E = torch.bincount(chosen_NK.reshape(-1), minlength=logits_NE.shape[-1]).double().cpu()
            self._counts[name] = self._counts.get(name, torch.zeros_like(counts_E)) + counts_E

        return count


def expert_load(model: Any) -> ExpertLoad | None:
    """A counter on every router of `model`, found as transformers itself records them; None where there is none."""
    recorders = [getattr(type(m), "_can_record_outputs", None) or {} for m in model.modules()]
    recorder = next((one["router_logits"] for one in recorders if "router_logits" in one), None)
    kind, place = getattr(recorder, "target_class", recorder), int(getattr(recorder, "index", 0) or 0)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        return None
    # An adapter stands around the router that it adapts, and takes its name.
    routers = [
        (name.removesuffix(".base_layer"), m, place)
        for name, m in model.named_modules()
        if isinstance(m, kind)
    ]
    num_active = int(getattr(model.config, "num_experts_per_tok", 1) or 1)
    return ExpertLoad(routers, num_active) if routers else None


def balance_note(model: Any, load: ExpertLoad | None) -> list[str]:
    """What is to be said of a mixture whose routers train: nothing keeps their load even."""
    if load is None:
        return []
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not any(name.startswith(f"{router}.") for router in load.names for name in trained):
        return []
    return [
        "the routers train without an auxiliary loss for balance: watch expert_load_max and experts_idle, or freeze "
        "them"
    ]


def _shares(counts: dict[str, Tensor]) -> Tensor:
    counts_LE = torch.stack(list(counts.values()))
    return counts_LE / counts_LE.sum(1, keepdim=True).clamp(min=1)
