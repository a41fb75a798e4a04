"""The bytes of the tensors that are alive while a model runs, and the work that it does, seen operation by operation.

Knows nothing of models.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from luthier.training.forecast.work import Tally


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive, and the work."""

    def __init__(self, beside: Iterable[Tensor]) -> None:
        """`beside`: tensors that are counted elsewhere, as weights are."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.settled = self.peak_with_settled = 0
        self.tally = Tally()
        storages = [tensor.untyped_storage() for tensor in beside]
        self._known: dict[int, weakref.ref[Any]] = {id(one): weakref.ref(one) for one in storages}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.tally.add(func, args, kwargs or {}, out)
        for one in tree_iter(out):
            if isinstance(one, Tensor):
                self._see(one)
        return out

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


def settler(alive: Alive) -> Callable[[Tensor], None]:
    """A hook for a parameter whose gradient has found its place."""
    return lambda parameter: alive.settle(num_bytes(parameter))


def num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
