"""The live view of a run in a terminal: one bar, and a few lines above it at each evaluation.

Without a terminal (a log file, a pipe) it prints plain lines instead.
This file knows nothing of models or files: it shows the events of `tracking`.
"""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from luthier.page.html import printable
from luthier.training.tracking import Checkpoint, End, Evaluation, Sample, Spike, Step, smooth

_PLAIN_SECONDS = 10.0
_PLAIN_SHARE = 0.05
_SMOOTHED_STEPS = 100
_SHOWN_SAMPLES = 2
_SHOWN_PLACES = 8


class Progress:
    """A tracker for a person: step of total, smoothed loss, tokens/s, peak memory, time left."""

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or Console(stderr=True)
        self._clock = clock
        self._losses: list[float] = []
        self._total = self._first = self._step = 0
        self._started = clock()
        self._plain_at = (0, self._started)
        self._best: float | None = None
        self._bar: Bar | None = None

    def start(self, total_steps: int, first_step: int = 0) -> None:
        self._total, self._first, self._step = total_steps, first_step, first_step
        self._started = self._clock()
        self._plain_at = (first_step, self._started)
        if self.console.is_terminal:
            columns: list[ProgressColumn] = [
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(bar_width=None),
                _Facts(),
            ]
            self._bar = Bar(*columns, console=self.console, refresh_per_second=4, expand=True)
            self._bar.add_task("train", total=total_steps, completed=first_step, facts="starting")
            self._bar.start()
        elif first_step:
            self._print(f"resumed at step {first_step}/{total_steps}")

    def step(self, event: Step) -> None:
        self._step = event.step
        self._losses = [*self._losses[-_SMOOTHED_STEPS + 1 :], event.loss]
        facts = " · ".join(
            (
                f"loss {smooth(self._losses)[-1]:.3f}",
                f"{event.tokens_per_second:,.0f} tokens/s",
                format_bytes(event.peak_memory_bytes),
                f"{format_seconds(self._seconds_left())} left",
            )
        )
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=event.step, facts=facts)
        elif self._plain_is_due():
            self._plain_at = (event.step, self._clock())
            self._print(f"step {event.step}/{self._total} · {facts}")

    def spike(self, event: Spike) -> None:
        rows = ", ".join(event.places[:_SHOWN_PLACES]) + (" ..." if len(event.places) > _SHOWN_PLACES else "")
        said = f"step {event.step}: the loss jumped to {event.loss:.3f} ({event.typical:.3f} was usual)"
        self._print(f"{said}; its rows: {rows}", style="yellow")

    def evaluation(self, event: Evaluation) -> None:
        parts = [f"evaluation at step {event.step}"]
        if event.validation_loss is not None:
            best = self._best is None or event.validation_loss < self._best
            self._best = event.validation_loss if best else self._best
            # A resumed run's earlier evaluations are not known here, so it claims no best.
            note = " (best so far)" if best and not self._first else ""
            parts.append(f"validation loss {event.validation_loss:.3f}{note}")
        parts += [f"{name} {value:.3f}" for name, value in event.metrics.items()]
        self._print(" · ".join(parts), style="bold")
        for sample in event.samples[:_SHOWN_SAMPLES]:
            self._print_sample(sample)

    def checkpoint(self, event: Checkpoint) -> None:
        """Nothing is shown: checkpoints are many, and the command line names the last one."""

    def message(self, text: str) -> None:
        self._print(text)

    def close(self, event: End) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        parts = [f"{event.status} at step {event.step}/{self._total}"]
        if event.best_validation_loss is not None and event.best_step is not None:
            parts.append(f"best validation loss {event.best_validation_loss:.3f} at step {event.best_step}")
        seconds = event.seconds if event.seconds is not None else self._clock() - self._started
        parts.append(format_seconds(seconds))
        if event.reason:
            parts.append(event.reason)
        self._print(" · ".join(parts), style="bold green" if event.status == "finished" else "bold yellow")

    def _print_sample(self, sample: Sample) -> None:
        passed = sample.verdict == "passed"
        self._print(f"  ask     {one_line(sample.question)}", crop=True)
        self._print(f"  answer  {one_line(sample.answer) or '(empty)'}", crop=True)
        verdict = sample.verdict if passed else f"{sample.verdict}, expected: {one_line(sample.expected)}"
        self._print(f"          {verdict}", style="green" if passed else "red", crop=True)

    def _print(self, text: str, *, style: str = "", crop: bool = False) -> None:
        # A model's answer is printed as text: no markup of ours, no control sequence of its own.
        line = Text(printable(text, self.console.encoding), style=style)
        if crop and self.console.is_terminal:
            line.truncate(self.console.width, overflow="ellipsis")
        self.console.print(line, highlight=False, soft_wrap=True)

    def _plain_is_due(self) -> bool:
        step, at = self._plain_at
        far = self._step - step >= max(1, self._total * _PLAIN_SHARE)
        return far or self._clock() - at >= _PLAIN_SECONDS or self._step == self._total

    def _seconds_left(self) -> float:
        done = self._step - self._first
        return (self._clock() - self._started) / done * (self._total - self._step) if done else 0.0


class _Facts(ProgressColumn):
    """The text right of the bar."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["facts"]), no_wrap=True)


def format_bytes(count: float) -> str:
    """Decimal units, as disks and peers report them: `1.9 GB`, `640 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def format_seconds(seconds: float) -> str:
    """`8 s`, `2 min 05 s`, `1 h 04 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())
