"""Which rows of a dataset belong together: the two answers of a preference, or one answer with its label.

A unit is what an optimizer step counts and what is never torn: its rows stand next to each other in the dataset and go
through the model in one micro-batch. A side may have several rows, where the template shows history otherwise than it
was said; they count together. Knows nothing of tokens, files, models and losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORSE, BETTER = 0, 1
"""The roles of a row: the rejected or undesirable answer, and the chosen or desirable one."""


@dataclass(frozen=True)
class Members:
    """The rows of a micro-batch as units. B rows, U units.

    unit_B: which unit each row is of, from 0 to U - 1. role_B: WORSE or BETTER. unit_indices_U: which units of the
    dataset these are. reference_B: float32, each row's log-probability under the reference model; None where unknown.
    """

    unit_B: NDArray[np.int64]
    role_B: NDArray[np.int64]
    unit_indices_U: NDArray[np.int64]
    reference_B: NDArray[np.float32] | None = None

    @property
    def num_units(self) -> int:
        return len(self.unit_indices_U)


@dataclass(frozen=True)
class Units:
    """R rows as U units: the rows of unit u are `offsets[u]:offsets[u + 1]`.

    roles_R: WORSE or BETTER. reference_R: float32, each row's log-probability under the reference model, or None.
    """

    offsets: NDArray[np.int64]
    roles_R: NDArray[np.int8]
    reference_R: NDArray[np.float32] | None = None

    @property
    def num_units(self) -> int:
        return len(self.offsets) - 1

    def rows(self, units: Sequence[int]) -> list[int]:
        """The rows of some units, in their order."""
        return [row for unit in units for row in range(int(self.offsets[unit]), int(self.offsets[unit + 1]))]

    def of_rows(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """The unit of each row."""
        return np.searchsorted(self.offsets, np.asarray(rows), side="right") - 1

    def members(self, rows: Sequence[int]) -> Members:
        """The rows of a micro-batch as units."""
        index = np.asarray(rows, dtype=np.int64)
        units, unit_B = np.unique(self.of_rows(rows), return_inverse=True)
        reference = None if self.reference_R is None else self.reference_R[index]
        return Members(unit_B.astype(np.int64), self.roles_R[index].astype(np.int64), units, reference)
