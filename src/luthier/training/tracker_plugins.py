"""Trackers that the recipe names: `tensorboard`, a `luthier.trackers` entry point, or `package.module:Class`.

Such a class is called with the run and gives a `Tracker`. One that fails while training is said once and told nothing
more: a dashboard must not cost a run. Knows nothing of what a tracker does.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from luthier.errors import ConfigError
from luthier.registry.runs import Run
from luthier.training.tracking import Tracker

GROUP = "luthier.trackers"
BUILT_IN = {"tensorboard": "luthier.training.tensorboard:TensorBoardTracker"}


def open_trackers(names: Sequence[str], run: Run, say: Callable[[str], Any]) -> list[Tracker]:
    """The trackers of these names, opened for `run`. Raises ConfigError for a name that is none, or does not import."""
    return [_Guarded(name, find_tracker(name)(run), say) for name in names]


def find_tracker(name: str) -> Callable[[Run], Tracker]:
    """The class behind a name. Raises ConfigError."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    try:
        if name in known:
            made: Callable[[Run], Tracker] = known[name].load()
            return made
        module, colon, attribute = BUILT_IN.get(name, name).partition(":")
        if not colon:
            names = ", ".join([*BUILT_IN, *sorted(known)])
            raise ConfigError(f"train.trackers: expected {names} or package.module:Class; got {name!r}")
        found: Callable[[Run], Tracker] = getattr(importlib.import_module(module), attribute)
        return found
    except (ImportError, AttributeError) as error:
        hint = "; install it: pip install 'luthier[track]'" if name in BUILT_IN else ""
        raise ConfigError(f"train.trackers: {name} cannot be loaded: {error}{hint}") from error


class _Guarded:
    """Passes every call on until one fails."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], Any]) -> None:
        self._name, self._tracker, self._say = name, tracker, say
        self._failed = False

    def __getattr__(self, method: str) -> Callable[..., None]:
        return functools.partial(self._call, method)

    def _call(self, method: str, *arguments: Any, **options: Any) -> None:
        if self._failed:
            return
        try:
            getattr(self._tracker, method)(*arguments, **options)
        except Exception as error:  # foreign code; the run is worth more than its dashboard
            self._failed = True
            self._say(f"the run goes on without the tracker {self._name}: {type(error).__name__}: {error}")
