"""What a run's curve says: one word for it, the evidence, and what to try next.

Reads events as they stand in metrics.jsonl and the data manifest; rules in the order of `_RULES`, the first that holds
is the word. A level is the median of a stretch of steps, so that no single batch decides. Knows nothing of models.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from luthier.errors import RunError
from luthier.registry.runs import Run
from luthier.training.diagnose_preferences import displaced_likelihood, no_preference, runaway_margin
from luthier.training.row_findings import RowFindings, find_rows
from luthier.training.row_history import FILE, read_row_losses
from luthier.training.spikes import SpikeWatch

_FEWEST_STEPS = 10
_NOT_FINITE = "expected finite numbers"  # what `not_finite` says in the reason of a run that it stopped
_LOSS_NEAR_ZERO = 0.1  # nats per token: the right token has 90%
_MANY_DUPLICATES = 0.2
_OVERFIT_RISE = 0.03
_LEARNT_LITTLE = 0.05
_STOOD_HIGH = 0.6
_FAR_ABOVE = 1.3  # times the first loss: more than one batch differs from another
_STILL_FALLING = 0.15
_SHOWN_PLACES = 8


class Curve(StrEnum):
    """The names of curves."""

    HEALTHY = "healthy"
    OVERFITTING = "overfitting"
    UNDERFITTING = "underfitting"
    UNSTABLE = "unstable"
    DIVERGED = "diverged"
    PLATEAUED = "plateaued"
    NO_PREFERENCE = "no preference learnt"
    DISPLACED = "likelihood displaced"
    RUNAWAY = "runaway margin"
    MEMORISED = "memorised duplicates"
    TOO_SHORT = "too short to tell"


@dataclass(frozen=True)
class Diagnosis:
    """`word`, a sentence `why`, what to try (`advice`), the numbers behind it, the spikes with their rows, and
    what the rows' own losses say."""

    word: Curve
    why: str
    advice: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    spikes: Sequence[Mapping[str, Any]] = ()
    rows: RowFindings | None = None

    @property
    def lines(self) -> list[str]:
        """The diagnosis for a person to read."""
        said = [f"{self.word.value}: {self.why}.", f"Next: {self.advice}."]
        for spike in self.spikes[:3]:
            rows = ", ".join(spike.get("places", [])[:_SHOWN_PLACES])
            said.append(
                f"A spike at step {spike['step']}: loss {spike['loss']:.3g} where {spike['typical']:.3g} was usual"
                + (f"; its rows: {rows}" if rows else "")
            )
        return said + (self.rows.lines if self.rows else [])


@dataclass(frozen=True)
class _Curves:
    """What the rules look at. Levels are medians of stretches of training losses."""

    losses: list[float]
    steps: list[int]
    rates: list[float]
    validation: list[tuple[int, float]]
    spike_steps: list[int]
    duplicate_share: float | None
    reason: str
    metrics: Mapping[str, Sequence[float]]

    def level(self, begin: float, end: float) -> float:
        """The median of the losses between two shares of the run."""
        first = min(int(begin * len(self.losses)), len(self.losses) - 1)
        return median(self.losses[first : max(first + 1, round(end * len(self.losses)))])

    @property
    def start(self) -> float:
        return median(self.losses[: max(1, min(5, len(self.losses) // 10))])

    @property
    def last(self) -> float:
        return self.level(0.9, 1)

    @property
    def lowest(self) -> float:
        return min(self._tenths())

    @property
    def highest(self) -> float:
        return max(self._tenths())

    def _tenths(self) -> list[float]:
        return [self.level(tenth / 10, (tenth + 1) / 10) for tenth in range(10)]

    def level_at(self, step: int) -> float:
        """The level around a step."""
        at = min(range(len(self.steps)), key=lambda index: abs(self.steps[index] - step))
        reach = max(1, len(self.steps) // 20)
        return median(self.losses[max(0, at - reach) : at + reach + 1])


_Found = tuple[str, str] | None


def diagnose_run(run: Run) -> Diagnosis:
    """The diagnosis of a run folder, as far as it has come. Raises RunError where a file cannot be read."""
    try:
        manifest = json.loads(run.data_path.read_bytes())
    except FileNotFoundError:
        manifest = []
    except (OSError, ValueError) as error:
        raise RunError(f"{run.data_path}: expected JSON; cannot read it: {error}.") from error
    rows = rows_of_run(run)
    return diagnose(run.read_metrics(), manifest if isinstance(manifest, list) else [], rows)


def rows_of_run(run: Run) -> RowFindings | None:
    """What the rows' own losses say; None where the run keeps none."""
    path = run.folder / FILE
    return find_rows(read_row_losses(path)) if path.exists() else None


def diagnose(
    events: Sequence[Mapping[str, Any]],
    manifest: Sequence[Mapping[str, Any]] = (),
    rows: RowFindings | None = None,
) -> Diagnosis:
    """Name the curve. `events` as in metrics.jsonl; `manifest` as in data.json; `rows` as of `rows_of_run`."""
    by_step = {event["step"]: event for event in events if event.get("event") == "step"}
    taken = [by_step[step] for step in sorted(by_step) if by_step[step].get("loss") is not None]
    losses = [float(event["loss"]) for event in taken]
    watch = SpikeWatch()
    found = [(event, watch.typical, watch.see(loss)) for event, loss in zip(taken, losses, strict=True)]
    places = {event["step"]: event.get("places", []) for event in events if event.get("event") == "spike"}
    spikes = [
        {
            "step": event["step"],
            "loss": event["loss"],
            "typical": typical,
            "places": places.get(event["step"], []),
        }
        for event, typical, score in found
        if score is not None
    ]
    evaluations = {event["step"]: event for event in events if event.get("event") == "evaluation"}
    curves = _Curves(
        losses,
        [int(event["step"]) for event in taken],
        [float(event["learning_rate"]) for event in taken if event.get("learning_rate") is not None],
        [
            (step, float(evaluations[step]["validation_loss"]))
            for step in sorted(evaluations)
            if evaluations[step].get("validation_loss") is not None
        ],
        [int(spike["step"]) for spike in spikes],
        _duplicate_share(manifest),
        str(next((e.get("reason") or "" for e in reversed(events) if e.get("event") == "end"), "")),
        _metrics(taken),
    )
    for word, rule in _RULES.items():
        if (said := rule(curves)) is not None:
            return Diagnosis(word, *said, _numbers(curves), spikes, rows)
    raise AssertionError("the last rule always holds")


def _metrics(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """What the objective told beside its loss, by name; steps that lack one are passed over."""
    found: dict[str, list[float]] = {}
    for event in steps:
        for name, value in (event.get("metrics") or {}).items():
            if value is not None:
                found.setdefault(name, []).append(float(value))
    return found


def _duplicate_share(manifest: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of training rows that repeat an earlier one; None where the manifest does not say."""
    entry = next((e for e in manifest if e.get("role") == "train" and "repeated_rows" in e), None)
    return entry["repeated_rows"] / max(1, entry["token_rows"]) if entry else None


def _numbers(curves: _Curves) -> dict[str, Any]:
    numbers: dict[str, Any] = {"steps": len(curves.losses), "spikes": len(curves.spike_steps)}
    if curves.losses:
        numbers |= {"first loss": curves.start, "lowest loss": curves.lowest, "last loss": curves.last}
    if curves.rates:
        numbers["highest learning rate"] = max(curves.rates)
    if curves.validation:
        step, best = min(curves.validation, key=lambda one: one[1])
        numbers |= {
            "best validation loss": best,
            "at step": step,
            "last validation loss": curves.validation[-1][1],
        }
    if curves.duplicate_share is not None:
        numbers["repeated rows"] = curves.duplicate_share
    return numbers


def _slower(curves: _Curves, factor: float) -> str:
    if not curves.rates:
        return "a lower optim.learning_rate"
    return f"optim.learning_rate={max(curves.rates) / factor:.1g} (it was {max(curves.rates):.2g})"


def _faster(curves: _Curves, factor: float) -> str:
    if not curves.rates:
        return "a higher optim.learning_rate"
    return f"optim.learning_rate={max(curves.rates) * factor:.1g} (it was {max(curves.rates):.2g})"


def _not_finite(curves: _Curves) -> _Found:
    if _NOT_FINITE not in curves.reason:
        return None
    what = f"the run stopped at a step without a finite loss or gradient: {curves.reason.rstrip('.')}"
    return what, "what the reason says; then start again"


def _diverged(curves: _Curves) -> _Found:
    if (found := _not_finite(curves)) or len(curves.losses) < _FEWEST_STEPS:
        return found
    first = curves.losses[0]  # before any weight moved
    if curves.last > _FAR_ABOVE * first and curves.last > first + _LOSS_NEAR_ZERO:
        why = f"the training loss began at {first:.3g} and ends at {curves.last:.3g}"
        return why, f"{_slower(curves, 5)}, or a longer warm-up (optim.warmup_share)"
    gave_back = curves.last - curves.lowest > 0.5 * max(0.0, curves.start - curves.lowest)
    above = curves.last > max(1.5 * curves.lowest, curves.lowest + _LOSS_NEAR_ZERO)
    if not (gave_back and above):
        return None
    why = (
        f"the training loss was {curves.lowest:.3g} at its lowest and ends at {curves.last:.3g} "
        f"(it began at {curves.start:.3g})"
    )
    return why, f"{_slower(curves, 5)}, or a longer warm-up (optim.warmup_share)"


def _too_short(curves: _Curves) -> _Found:
    if len(curves.losses) >= _FEWEST_STEPS:
        return None
    why = f"{len(curves.losses)} steps were recorded, and a curve needs {_FEWEST_STEPS}"
    return why, "more steps (train.epochs), or smaller ones (train.batch_size)"


def _unstable(curves: _Curves) -> _Found:
    first = curves.losses[0]
    if curves.highest > _FAR_ABOVE * first and curves.highest > first + _LOSS_NEAR_ZERO:
        why = f"the training loss rose from {first:.3g} to {curves.highest:.3g} before it fell to {curves.last:.3g}"
        return why, f"{_slower(curves, 5)}, or a longer warm-up (optim.warmup_share)"
    if len(curves.spike_steps) < max(3, 0.01 * len(curves.losses)):
        return None
    named = ", ".join(map(str, curves.spike_steps[:5]))
    count = f"{len(curves.spike_steps)} of {len(curves.losses)} steps ({named})"
    why = f"the loss jumped far above its neighbours at {count}"
    return why, f"look at the rows of those steps; then {_slower(curves, 2)} or a lower optim.clip_norm"


def _memorised(curves: _Curves) -> _Found:
    share = curves.duplicate_share
    if share is None or share < _MANY_DUPLICATES or curves.last > _LOSS_NEAR_ZERO:
        return None
    why = (
        f"the training loss ends at {curves.last:.2g}, and {share:.0%} of the training rows repeat an earlier row: "
        "the model knows these rows by heart, and the loss says little about new ones"
    )
    return why, "remove the copies (luthier data fix), and measure on rows that are not in training"


def _overfitting(curves: _Curves) -> _Found:
    if len(curves.validation) < 2:
        return None
    step, best = min(curves.validation, key=lambda one: one[1])
    last_step, last = curves.validation[-1]
    if last <= best * (1 + _OVERFIT_RISE) or curves.last >= curves.level_at(step):
        return None
    why = (
        f"the validation loss was best at step {step} ({best:.4g}) and rose to {last:.4g} at step {last_step}, "
        f"while the training loss fell on from {curves.level_at(step):.3g} to {curves.last:.3g}. "
        f"The weights of step {step} were kept"
    )
    return (
        why,
        "fewer train.epochs, evaluation.patience=2, more or more varied rows, or a smaller method (lora)",
    )


def _underfitting(curves: _Curves) -> _Found:
    if curves.start <= _LOSS_NEAR_ZERO:
        return None
    fall = curves.start - curves.last
    if fall < _LEARNT_LITTLE * curves.start:
        why = f"the training loss went from {curves.start:.3g} to {curves.last:.3g}: little was learnt"
        return (
            why,
            f"{_faster(curves, 5)}; if that changes nothing, a larger method (a higher method.rank, full)",
        )
    late = curves.level(0.7, 0.8) - curves.last
    if late > _STILL_FALLING * fall:
        why = f"the training loss was still falling when the run ended: {late:.2g} of {fall:.2g} in the last fifth"
        return why, f"more train.epochs, or {_faster(curves, 2)}"
    return None


def _plateaued(curves: _Curves) -> _Found:
    fall = curves.start - curves.last
    late = curves.level(0.3, 0.4) - curves.last
    still = max(0.05 * fall, 0.01 * curves.last)  # batches differ by so much alone
    if curves.last < _STOOD_HIGH * curves.start or curves.last <= _LOSS_NEAR_ZERO or late > still:
        return None
    why = (
        f"the training loss fell to {curves.level(0.3, 0.4):.3g} in the first third and has stood there since "
        f"({curves.last:.3g} at the end, {curves.start:.3g} at the start)"
    )
    advice = (
        "if the answers are good enough, stop there and save the epochs; if not, see whether the rows can be told "
        "apart at all (conflicting answers: luthier data check), then a larger method (a higher method.rank, full) "
        f"or {_faster(curves, 2)}"
    )
    return why, advice


def _healthy(curves: _Curves) -> _Found:
    why = f"the training loss fell from {curves.start:.3g} to {curves.last:.3g}"
    if not curves.validation:
        return (
            f"{why}; nothing was held out, so overfitting would not be seen",
            "hold rows out: data.validation_share=0.05",
        )
    step, best = min(curves.validation, key=lambda one: one[1])
    return (
        f"{why}, and the validation loss to {best:.4g} at step {step}",
        "measure it: luthier eval, luthier compare",
    )


_RULES: dict[Curve, Callable[[_Curves], _Found]] = {
    Curve.DIVERGED: _diverged,
    Curve.TOO_SHORT: _too_short,
    Curve.UNSTABLE: _unstable,
    Curve.NO_PREFERENCE: lambda curves: no_preference(curves.metrics),
    Curve.DISPLACED: lambda curves: displaced_likelihood(curves.metrics),
    Curve.RUNAWAY: lambda curves: runaway_margin(curves.metrics),
    Curve.MEMORISED: _memorised,
    Curve.OVERFITTING: _overfitting,
    Curve.UNDERFITTING: _underfitting,
    Curve.PLATEAUED: _plateaued,
    Curve.HEALTHY: _healthy,
}
