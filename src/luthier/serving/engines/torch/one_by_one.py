"""The way for models whose rows cannot share a step: each row goes through the model by itself, with its own cache.

For state-space models and others whose layers keep something else than keys and values, and for positions that depend
on the length of a sequence. Rows take turns, one token each, so answers still stream side by side; nothing is shared
between them. This file knows nothing of sampling, threads or requests.
"""

from typing import Any

import torch
from torch import Tensor

from luthier.serving.engines.torch.row import Row
from luthier.serving.engines.torch.sites import Plan, plan, planned

_CACHES = ("past_key_values", "cache_params")


class OneByOne:
    """The rows of one base, each with what the model itself keeps of it."""

    num_swaps = 0

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model, self._device = model, device
        self._caches: dict[Row, dict[str, Any]] = {}

    def bytes_of(self, row: Row) -> int:
        """Unknown: the model's own affair."""
        return 0

    def admit(self, row: Row) -> None:
        self._caches[row] = {}

    def remove(self, row: Row) -> None:
        del self._caches[row]

    def step(self) -> tuple[list[Row], Tensor]:
        """As Batched.step: one token for every row."""
        rows = list(self._caches)
        return rows, torch.cat([self._last_logits(row) for row in rows])

    def _last_logits(self, row: Row) -> Tensor:
        new = row.ids[row.length :]
        with planned(self._plan_of(row, len(new))):
            output = self._model(
                input_ids=torch.tensor([new], device=self._device), use_cache=True, **self._caches[row]
            )
        name = next((name for name in _CACHES if getattr(output, name, None) is not None), None)
        if name is not None:  # without one the whole sequence is read again
            self._caches[row] = {name: getattr(output, name)}
            row.length = len(row.ids)
        logits: Tensor = output.logits[:, -1]
        return logits if logits.dtype == torch.float64 else logits.float()

    def _plan_of(self, row: Row, num_tokens: int) -> Plan:
        return plan([row.specialist.laid] * num_tokens, 0)
