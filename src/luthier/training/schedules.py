"""Learning-rate schedules: pure functions of the step, so there is no state to save.

Every schedule warms up in a straight line that never starts at 0, and each shape then goes from 1 to 0; `final_share`
lays the floor. This file knows nothing of optimizers.
"""

import math
from collections.abc import Callable, Mapping

from luthier.training.recipe import OptimConfig

Schedule = Callable[[int], float]
Shape = Callable[[float, OptimConfig], float]


def _cosine(progress: float, config: OptimConfig) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _linear(progress: float, config: OptimConfig) -> float:
    return 1 - progress


def _constant(progress: float, config: OptimConfig) -> float:
    return 1.0


def _cosine_restarts(progress: float, config: OptimConfig) -> float:
    """`num_cycles` half cosines, each from the top (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    return 0.0 if progress >= 1 else _cosine((config.num_cycles * progress) % 1.0, config)


def _polynomial(progress: float, config: OptimConfig) -> float:
    return float((1 - progress) ** config.power)


def _wsd(progress: float, config: OptimConfig) -> float:
    """Stable, then 1 - sqrt over the last `decay_share` (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024)."""
    decayed = 1 - (1 - progress) / config.decay_share if config.decay_share else 0.0
    return 1 - math.sqrt(min(1.0, decayed)) if decayed > 0 else 1.0


SHAPES: Mapping[str, Shape] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "cosine_restarts": _cosine_restarts,
    "polynomial": _polynomial,
    "wsd": _wsd,
}


def build_schedule(config: OptimConfig, num_steps: int) -> Schedule:
    """step (0-based) -> factor on the learning rate. Warm-up is linear and never starts at 0.

    wsd decays over the last `decay_share` of what follows the warm-up.
    """
    warmup = math.ceil(config.warmup_share * num_steps)
    shape = SHAPES[config.schedule]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, num_steps - warmup)
        return config.final_share + (1 - config.final_share) * shape(progress, config)

    return factor
