"""The tracker that writes a run into the database of its workspace while it trains.

The database is a copy of the files, so it may never stop training: where it cannot be written, that is said once
and the tracker falls silent; `luthier runs` reads the files in later. Knows nothing of models.
"""

import time
from collections.abc import Callable
from typing import Any

from luthier.errors import RunError
from luthier.registry.run_index import RunIndex
from luthier.registry.runs import Run
from luthier.training.tracking import Checkpoint, End, Evaluation, Spike, Step

_EVERY_SECONDS = 5.0
_WAIT_FACTOR = 50  # a copy reads the whole file; it may take one part in so many of the training


class IndexTracker:
    """Reads what MetricsFile has written since, every few seconds: the file is the one form of an event.

    It must come behind MetricsFile among the trackers.
    """

    def __init__(self, run: Run, say: Callable[[str], Any]) -> None:
        self._run, self._say = run, say
        self._index = RunIndex(run.folder.parent)
        self._broken = False
        self._due = 0.0

    def start(self, total_steps: int, first_step: int = 0) -> None:
        self._copy()

    def step(self, event: Step) -> None:
        if time.monotonic() >= self._due:
            self._copy()

    def spike(self, event: Spike) -> None:
        """Copied with the next step."""

    def evaluation(self, event: Evaluation) -> None:
        self._copy()

    def checkpoint(self, event: Checkpoint) -> None:
        """Copied with the next step."""

    def message(self, text: str) -> None:
        """Copied with the next step."""

    def close(self, event: End) -> None:
        # Trackers are closed last one first, so the last line is not in the file yet; `sync` reads it in.
        self._copy()
        self._index.close()

    def _copy(self) -> None:
        if self._broken:
            return
        started = time.monotonic()
        try:
            self._index.put(self._run)
        except (RunError, OSError) as error:
            self._broken = True
            self._say(f"the run goes on without the database of runs: {error}")
        ended = time.monotonic()
        self._due = ended + max(_EVERY_SECONDS, _WAIT_FACTOR * (ended - started))
