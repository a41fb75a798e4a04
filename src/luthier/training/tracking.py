"""What is told of a run while it trains, and who is told: a file, a person, or several.

The loop makes events and hands them to one `Tracker`. `MetricsFile` writes them to the run's metrics.jsonl,
`Trackers` hands them on to several; the live bar stands in `progress`.
This file knows nothing of models and never imports torch: it asks for device memory where torch is loaded.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from luthier.registry.runs import Run

EndWord = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step. Numbers are of this step unless they say cumulative."""

    step: int
    epoch: float
    loss: float
    """Weighted loss per supervised token, in nats."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Cumulative: tokens read, context and supervised."""
    supervised_tokens: int
    """Cumulative: tokens with a weight above zero."""
    tokens_per_second: float
    peak_memory_bytes: int
    seconds: float
    """Since training began, over all resumed parts."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the objective tells of the step beside its loss: rewards and their margin, say."""


@dataclass(frozen=True, slots=True)
class Spike:
    """A step whose loss stands far above those before it (see `spikes`), and the rows that it took."""

    step: int
    loss: float
    typical: float
    """The median of the steps before."""
    score: float
    """Robust deviations above it."""
    places: Sequence[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One question that was asked at an evaluation, and what came back."""

    question: str
    answer: str
    expected: str
    verdict: str
    """A word: passed, failed, ..."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Validation loss (nats per supervised token), the task's metrics by name, and sample answers."""

    step: int
    validation_loss: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: Sequence[Sample] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint stands whole on the disk. `kind` is rolling, best or final."""

    step: int
    path: str
    kind: str = "rolling"


@dataclass(frozen=True, slots=True)
class End:
    """The loop stopped at `step`, with a word, and why where that is not plain."""

    step: int
    status: EndWord
    best_step: int | None = None
    best_validation_loss: float | None = None
    reason: str | None = None
    seconds: float | None = None


class Tracker(Protocol):
    """Is told of a run, in this order: start, any of the middle ones, close (also after an error)."""

    def start(self, total_steps: int, first_step: int = 0) -> None:
        """Training goes from `first_step` (0, or the step resumed from) to `total_steps`."""

    def step(self, event: Step) -> None:
        """One optimizer step was taken."""

    def spike(self, event: Spike) -> None:
        """The step that was told last was a spike."""

    def evaluation(self, event: Evaluation) -> None:
        """The model was evaluated."""

    def checkpoint(self, event: Checkpoint) -> None:
        """A checkpoint was written."""

    def message(self, text: str) -> None:
        """Something that a person should read."""

    def close(self, event: End) -> None:
        """The run stopped. Called once; it must leave the terminal and the files whole."""


class MetricsFile:
    """Writes each event to the run's metrics.jsonl. It does not set the run's status word."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def start(self, total_steps: int, first_step: int = 0) -> None:
        # A resumed run takes its steps after the checkpoint again: each must stand in the file once.
        self.run.truncate_metrics_after(first_step)
        self.run.append_metrics({"event": "start", "step": first_step, "total_steps": total_steps})

    def step(self, event: Step) -> None:
        # asdict copies a Mapping as its own class, which may not be JSON.
        record = asdict(replace(event, metrics={})) | {"metrics": dict(event.metrics)}
        self.run.append_metrics({"event": "step", **record})

    def spike(self, event: Spike) -> None:
        self.run.append_metrics({"event": "spike", **asdict(event)})

    def evaluation(self, event: Evaluation) -> None:
        record = {
            "step": event.step,
            "validation_loss": event.validation_loss,
            "metrics": dict(event.metrics),
            "samples": [asdict(sample) for sample in event.samples],
        }
        self.run.append_metrics({"event": "evaluation", **record})

    def checkpoint(self, event: Checkpoint) -> None:
        self.run.append_metrics({"event": "checkpoint", **asdict(event)})

    def message(self, text: str) -> None:
        self.run.append_metrics({"event": "message", "text": text})

    def close(self, event: End) -> None:
        self.run.append_metrics({"event": "end", **asdict(event)})


class Trackers:
    """Hands every event to each tracker in turn."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)

    def start(self, total_steps: int, first_step: int = 0) -> None:
        for tracker in self.trackers:
            tracker.start(total_steps, first_step)

    def step(self, event: Step) -> None:
        for tracker in self.trackers:
            tracker.step(event)

    def spike(self, event: Spike) -> None:
        for tracker in self.trackers:
            tracker.spike(event)

    def evaluation(self, event: Evaluation) -> None:
        for tracker in self.trackers:
            tracker.evaluation(event)

    def checkpoint(self, event: Checkpoint) -> None:
        for tracker in self.trackers:
            tracker.checkpoint(event)

    def message(self, text: str) -> None:
        for tracker in self.trackers:
            tracker.message(text)

    def close(self, event: End) -> None:
        """Closes all of them, last one first, even where one fails; then raises what failed."""
        with contextlib.ExitStack() as closing:
            for tracker in self.trackers:
                closing.callback(tracker.close, event)


def smooth(values: Sequence[float], *, memory: float = 0.9) -> list[float]:
    """Exponential moving average with the start-up bias removed (Kingma & Ba 2014, section 3)."""
    smoothed: list[float] = []
    total = weight = 0.0
    for value in values:
        total = memory * total + (1 - memory) * value
        weight = memory * weight + (1 - memory)
        smoothed.append(total / weight)
    return smoothed


def peak_memory_bytes() -> int:
    """The most memory held so far: of the CUDA device where one is in use, else of this process.

    Torch is asked only where something else has imported it already.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return _peak_resident_bytes()


def _peak_resident_bytes() -> int:
    # On Linux ru_maxrss is inherited across exec from a larger parent; VmHWM is this program's own.
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
