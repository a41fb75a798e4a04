"""A small run first: a tenth of the run or a hundred steps, and whether the whole is worth starting.

Everything but the length is as the recipe says. The validation rows are measured before the first step and at the end;
the noise of their mean loss comes from the rows themselves, row by row. Knows nothing of screens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from statistics import NormalDist
from typing import Any

from luthier.config import Layer
from luthier.registry.runs import Run
from luthier.training.diagnose import Curve, diagnose_run

_SHARE, _MOST_STEPS, _FEWEST_STEPS = 0.1, 100, 10
_LEARNT = 0.05  # of the first loss: less is what batches differ by
_Z = NormalDist().inv_cdf(0.975)


class Worth(StrEnum):
    """The verdict of a smoke run."""

    YES = "worth it"
    NO = "not worth it"
    UNKNOWN = "cannot tell"


EXIT_CODES: Mapping[Worth, int] = {Worth.YES: 0, Worth.NO: 1, Worth.UNKNOWN: 3}


@dataclass(frozen=True)
class SmokeVerdict:
    """A word, its reasons, and the numbers behind it."""

    word: Worth
    reasons: tuple[str, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "word": self.word.value, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Fall:
    """How far the mean validation loss of a row fell, and 1.96 standard errors of that, over paired rows."""

    before: float
    after: float
    noise: float
    num_rows: int

    @property
    def fall(self) -> float:
        return self.before - self.after


def smoke_steps(num_steps: int) -> int:
    """A tenth of the run, at most 100 steps; at least 10 where the run has them, for a curve needs so many."""
    return min(num_steps, _MOST_STEPS, max(_FEWEST_STEPS, round(num_steps * _SHARE)))


def smoke_layers(layers: Sequence[Layer], num_steps: int) -> list[Layer]:
    """The recipe of the smoke run of a run of `num_steps`."""
    return [*layers, Layer("smoke", {"train": {"max_steps": smoke_steps(num_steps)}})]


def paired_fall(before: Sequence[float], after: Sequence[float]) -> Fall | None:
    """From the loss of the same rows at the start and at the end; None with fewer than two rows."""
    count = len(before)
    if count < 2 or not all(map(math.isfinite, [*before, *after])):
        return None
    falls = [one - other for one, other in zip(before, after, strict=True)]
    mean = sum(falls) / count
    variance = sum((one - mean) ** 2 for one in falls) / (count - 1)
    return Fall(sum(before) / count, sum(after) / count, _Z * math.sqrt(variance / count), count)


def judge(
    run: Run, fall: Fall | None, own_prompt: Fall | None, *, full_steps: int, memory_limit_bytes: int
) -> SmokeVerdict:
    """What the finished (or failed) smoke run says of the whole one.

    `fall`: of the held-out rows, from the start to the end. `own_prompt`: from each answer after another row's
    prompt to the answer after its own.
    """
    events = run.read_metrics()
    steps = [event for event in events if event.get("event") == "step"]
    curve = diagnose_run(run)
    numbers = _numbers(steps, fall, full_steps)
    against: list[str] = []
    unknown: list[str] = []
    said: list[str] = []
    if curve.word is Curve.DIVERGED:
        against.append(f"diverged: {curve.why}. Try {curve.advice}")
    elif curve.word is Curve.TOO_SHORT:
        unknown.append(curve.why)
    _training(steps, said, against, unknown)
    _validation(fall, said, against, unknown)
    _prompt(own_prompt, said, unknown)
    if steps and memory_limit_bytes and steps[-1]["peak_memory_bytes"] > memory_limit_bytes:
        unknown.append("the peak of memory is above what this machine has")
    if numbers:
        said.append(
            f"the whole run: {full_steps:,} steps, about {numbers['full_run_seconds']:,.0f} s at "
            f"{numbers['tokens_per_second']:,.0f} tokens/s, peak {numbers['peak_memory_bytes'] / 1e9:.2f} GB"
        )
    word = Worth.NO if against else Worth.UNKNOWN if unknown else Worth.YES
    numbers["curve"] = curve.word.value
    return SmokeVerdict(word, (*against, *unknown, *said), numbers)


def _training(
    steps: Sequence[Mapping[str, Any]], said: list[str], against: list[str], unknown: list[str]
) -> None:
    losses = [float(step["loss"]) for step in steps if step.get("loss") is not None]
    if len(losses) < _FEWEST_STEPS:
        unknown.append(f"{len(losses)} steps have a loss, and {_FEWEST_STEPS} are needed")
        return
    fifth = max(2, len(losses) // 5)
    first, last = sum(losses[:fifth]) / fifth, sum(losses[-fifth:]) / fifth
    words = f"training loss {first:.3g} at first, {last:.3g} at the end"
    if first - last < _LEARNT * first:
        unknown.append(f"{words}: it hardly falls")
    else:
        said.append(f"{words}: it falls")


def _validation(fall: Fall | None, said: list[str], against: list[str], unknown: list[str]) -> None:
    if fall is None:
        unknown.append(
            "nothing usable is held out, so learning and memorising look alike (data.validation_share)"
        )
        return
    words = (
        f"validation loss {fall.before:.3g} before, {fall.after:.3g} after: it fell by {fall.fall:.3g} "
        f"(95%: {fall.fall - fall.noise:.3g} to {fall.fall + fall.noise:.3g}, {fall.num_rows} rows)"
    )
    if fall.fall + fall.noise < 0:
        against.append(f"{words}: it rises")
    elif fall.fall - fall.noise <= 0:
        unknown.append(f"{words}: no more than noise")
    else:
        said.append(words)


def _prompt(own: Fall | None, said: list[str], unknown: list[str]) -> None:
    if own is None:
        return
    words = (
        f"an answer's loss is {own.after:.3g} after its own prompt and {own.before:.3g} after another row's "
        f"({own.fall:.3g}, 95%: {own.fall - own.noise:.3g} to {own.fall + own.noise:.3g})"
    )
    if own.fall - own.noise <= 0:
        unknown.append(
            f"{words}: what the prompts ask makes no difference yet; do the answers follow from them?"
        )
    else:
        said.append(words)


def _numbers(steps: Sequence[Mapping[str, Any]], fall: Fall | None, full_steps: int) -> dict[str, Any]:
    numbers: dict[str, Any] = {"validation": asdict(fall) | {"fall": fall.fall} if fall else None}
    if not steps:
        return {}
    seconds, last = float(steps[-1]["seconds"]), steps[-1]
    return numbers | {
        "steps": len(steps),
        "full_steps": full_steps,
        "tokens_per_second": last["tokens"] / seconds,
        "full_run_seconds": seconds / len(steps) * full_steps,
        "peak_memory_bytes": last["peak_memory_bytes"],
    }
