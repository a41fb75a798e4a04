"""A tracker that writes TensorBoard's event files into the run's folder (`tensorboard/`).

Every number of a step or an evaluation is a scalar at its step. Knows nothing of models.
"""

from typing import Any

from luthier.registry.runs import Run
from luthier.training.tracking import Checkpoint, End, Evaluation, Spike, Step

_STEP_SCALARS = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "peak_memory_bytes")


class TensorBoardTracker:
    """Opened with a run; see `luthier.training.tracking.Tracker`."""

    def __init__(self, run: Run) -> None:
        from luthier.errors import ConfigError

        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "train.trackers: tensorboard is not installed: pip install 'luthier[track]'"
            ) from error

        self.folder = run.folder / "tensorboard"
        self._run = run
        self._writer_of = SummaryWriter
        self._writer: Any = None

    def start(self, total_steps: int, first_step: int = 0) -> None:
        # After a resume, steps beyond the checkpoint come again: purge_step hides the earlier ones.
        purge = first_step + 1 if first_step else None
        self._writer = self._writer_of(str(self.folder), purge_step=purge)
        self._writer.add_text("recipe", f"```\n{self._run.recipe_path.read_text(encoding='utf-8')}\n```")

    def step(self, event: Step) -> None:
        for name in _STEP_SCALARS:
            self._writer.add_scalar(f"train/{name}", getattr(event, name), event.step)
        for name, value in event.metrics.items():
            self._writer.add_scalar(f"train/{name}", value, event.step)

    def spike(self, event: Spike) -> None:
        self._writer.add_text("spike", f"loss {event.loss:.3g}: {', '.join(event.places)}", event.step)

    def evaluation(self, event: Evaluation) -> None:
        if event.validation_loss is not None:
            self._writer.add_scalar("validation/loss", event.validation_loss, event.step)
        for name, value in event.metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, event.step)

    def checkpoint(self, event: Checkpoint) -> None:
        """Nothing to draw."""

    def message(self, text: str) -> None:
        """Messages are the screen's."""

    def close(self, event: End) -> None:
        if self._writer is not None:
            self._writer.close()
