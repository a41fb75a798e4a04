"""Forecasts beside what came: one line of JSON for each finished run, and how far the last ones were off.

The file lies beside the runs (`forecasts.jsonl`). It is only ever added to; without it nothing is lost but the
memory of errors. Knows nothing of how a forecast is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from luthier.errors import RunError
from luthier.registry.event_log import append_event, read_events

FILE_NAME = "forecasts.jsonl"
_REMEMBERED = 12


@dataclass(frozen=True)
class TrackRecord:
    """The last forecasts' median absolute error in memory and in speed, as shares of what came."""

    count: int
    memory: float
    speed: float

    @property
    def sentence(self) -> str:
        """For a person."""
        if not self.count:
            return "no forecast has been compared with a finished run here yet"
        which = "the last forecast was" if self.count == 1 else f"the last {self.count} forecasts were"
        return f"{which} off by {self.memory:.0%} in memory, {self.speed:.0%} in time (median)"


def remember(
    runs_folder: Path,
    run_name: str,
    forecast: Mapping[str, Any],
    *,
    peak_memory_bytes: int,
    tokens_per_second: float,
) -> None:
    """Add a finished run. `forecast`: `Forecast.to_dict`. Raises RunError where the disk refuses."""
    line = {
        "run": run_name,
        "method": forecast["method"],
        "device": forecast["device"],
        "dtype": forecast["dtype"],
        "forecast_memory_bytes": forecast["memory"]["total"],
        "memory_bytes": peak_memory_bytes,
        "forecast_tokens_per_second": forecast["time"]["tokens_per_second"],
        "tokens_per_second": tokens_per_second,
    }
    append_event(runs_folder / FILE_NAME, line)


def track_record(runs_folder: Path, last: int = _REMEMBERED) -> TrackRecord:
    """How far the last forecasts were off; a file that cannot be read counts as none."""
    try:
        lines = read_events(runs_folder / FILE_NAME)[-last:]
    except RunError:
        lines = []
    pairs = [
        (
            abs(one["forecast_memory_bytes"] / one["memory_bytes"] - 1),
            abs(one["tokens_per_second"] / one["forecast_tokens_per_second"] - 1),
        )
        for one in lines
        if one.get("memory_bytes") and one.get("forecast_tokens_per_second") and one.get("tokens_per_second")
    ]
    if not pairs:
        return TrackRecord(0, 0.0, 0.0)
    return TrackRecord(len(pairs), median(m for m, _ in pairs), median(s for _, s in pairs))
