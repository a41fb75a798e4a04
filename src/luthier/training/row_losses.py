"""per_row.jsonl: the loss of every training row each time that it was learnt from.

A row's loss is the weighted mean of its own tokens' losses, which the step has at hand; where rows belong together it
is the loss of their unit, under its first row. Taken as the step computes it, so with dropout and before the weights
move. `row_history.py` reads it. Knows nothing of models, objectives and verdicts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from luthier.data.batches import Batch
from luthier.data.targets import entries
from luthier.files import atomic_file
from luthier.registry.event_log import append_events
from luthier.training.objectives import LossSums
from luthier.training.row_history import read_records


@dataclass
class RowLosses:
    """Writes the row losses of a run to `path`, step by step."""

    path: Path
    _waiting: list[tuple[Batch, Tensor]] = field(default_factory=list)

    def start(self, done: int) -> None:
        """Training begins, or goes on, after `done` steps: what was written of later ones is taken out."""
        self._waiting.clear()
        if not self.path.exists():
            return
        with atomic_file(self.path) as kept:
            for record in read_records(self.path):
                if record["step"] <= done:
                    kept.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def see(self, batch: Batch, sums: LossSums) -> None:
        """Take in a micro-batch. Losses stay on their device until the step is over."""
        losses = sums.losses_M if sums.losses_U is None else sums.losses_U
        if losses is not None:
            self._waiting.append((batch, losses))

    def step(self, step: int, epoch: float) -> None:
        """Write the rows of the micro-batches seen since the last step."""
        records = []
        for batch, losses in self._waiting:
            for row, loss, count in _of_rows(batch, losses.double().cpu().numpy()):
                place = batch.places_B[row] if batch.places_B else ""
                index = int(batch.row_indices_B[row])
                record = {"step": step, "epoch": round(epoch, 4), "row": index, "place": place}
                records.append(record | {"loss": float(f"{loss:.5g}"), "tokens": count})
        self._waiting.clear()
        if records:
            append_events(self.path, records)


def _of_rows(batch: Batch, losses: NDArray[np.float64]) -> Iterator[tuple[int, float, int]]:
    """(place in the batch, loss, supervised tokens) of each row, or of the first row of each unit."""
    of = entries(batch)
    count_B = np.bincount(of.row_D, minlength=len(batch.row_indices_B))
    if batch.members is not None:
        unit_B = batch.members.unit_B
        count_U = np.bincount(unit_B, weights=count_B, minlength=len(losses))
        order = np.argsort(batch.row_indices_B, kind="stable")
        first_U = order[np.unique(unit_B[order], return_index=True)[1]]
        for row, loss, count in zip(first_U, losses, count_U, strict=True):
            yield int(row), float(loss), int(count)
        return
    weight_B = np.bincount(of.row_D, weights=of.weights_D, minlength=len(count_B))
    sums_B = np.bincount(of.row_D, weights=of.weights_D * losses[of.index_D], minlength=len(count_B))
    for row in np.flatnonzero(weight_B):
        yield int(row), float(sums_B[row] / weight_B[row]), int(count_B[row])
