"""The trunk of a run: asked for or not, found or not, room for it or not, and the learner that uses it.

This is where what the recipe says meets what the model allows. Knows nothing of steps and losses.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from luthier.data.batches import Cut
from luthier.data.dataset import TokenDataset
from luthier.errors import ConfigError
from luthier.models.stream import stream_of
from luthier.models.trunk_cache import TrunkCache, default_cache, gigabytes
from luthier.models.trunk_store import TrunkStore, remove_torn
from luthier.training.learner import Learner
from luthier.training.recipe import TrainConfig
from luthier.training.streamed import by_layer, find_streamed
from luthier.training.trunk import (
    Bar,
    Boundary,
    Compute,
    InMemory,
    Missing,
    NothingFrozen,
    NoTrunk,
    Trunk,
    fill,
    find_trunk,
    identity,
    missing,
    whole_trunk,
)


@contextlib.contextmanager
def no_bar(*_what: Any, **_how: Any) -> Iterator[Any]:
    """A progress bar that nobody sees."""
    yield lambda done: None


@dataclass(frozen=True)
class TrunkRequest:
    """`rows`: all whose states a run will ask for (see trunk.tokens_of). `base`: the model's name, for people."""

    config: TrainConfig
    rows: TokenDataset
    cut: Cut
    compute_dtype: torch.dtype
    base: str
    bar: Bar = no_bar


@contextlib.contextmanager
def open_trunk(learner: Learner, request: TrunkRequest) -> Iterator[tuple[Learner, list[str]]]:
    """The learner as the run is to use it, with its trunk where there is one, and what is to be said about that.

    Inside, the store cannot be evicted. Raises ConfigError where `train.trunk` is on and cannot be.
    """
    config = request.config
    if config.trunk == "off":
        yield learner, []
        return
    with contextlib.ExitStack() as held:
        said: list[str] = []
        try:
            trunk, words = _in_store(learner, _way(learner, request), request, held)
            learner, said = replace(learner, trunk=trunk), [words]
        except NoTrunk as reason:
            if stream_of(learner.model):
                raise ConfigError(
                    f"model.stream needs a trunk, and this run cannot have one: {reason}"
                ) from reason
            if config.trunk == "on":
                raise ConfigError(f"train.trunk is on, but this run cannot have one: {reason}") from reason
            if not isinstance(reason, NothingFrozen):
                said = [f"every layer is computed in every step: {reason}"]
        yield learner, said


@dataclass(frozen=True)
class _Way:
    """How the trunk of a model is computed: at once, or a layer at a time."""

    boundary: Boundary
    in_memory: InMemory
    compute: Callable[[Path], Compute]


def _way(learner: Learner, request: TrunkRequest) -> _Way:
    """Raises NoTrunk."""
    dtype = request.compute_dtype
    if stream := stream_of(learner.model):
        boundary = find_streamed(learner, stream, request.cut, dtype)
        return _Way(
            boundary, stream.in_memory, lambda scratch: partial(by_layer, learner, stream, dtype, scratch)
        )
    boundary = find_trunk(learner, request.cut, dtype)
    return _Way(
        boundary,
        lambda index: contextlib.nullcontext(boundary.layers[index]),
        lambda _scratch: partial(whole_trunk, learner, boundary, dtype),
    )


def _in_store(
    learner: Learner, way: _Way, request: TrunkRequest, held: contextlib.ExitStack
) -> tuple[Trunk, str]:
    """The trunk, every row of the run in its store, and a word on that. Raises NoTrunk where there is no room."""
    config, boundary = request.config, way.boundary
    root = Path(config.trunk_cache).expanduser() if config.trunk_cache else default_cache()
    cache = TrunkCache(root, round(config.trunk_cache_gb * 1e9))
    what = identity(learner, boundary, request.compute_dtype, way.in_memory)
    folder = cache.folder_of(what)
    facts = {"base": request.base, "depth": boundary.depth, "layers": len(boundary.layers), **_numbers(what)}
    held.enter_context(cache.used(folder, facts))
    store = TrunkStore(folder, boundary.channels, boundary.dtype)
    absent = missing(request.rows, store)
    if len(absent.keys):
        with cache.writing(folder):
            remove_torn(folder)
            store.load()  # what another run wrote while this one waited
            absent = missing(request.rows, store)
            _fill(learner, way, store, cache, absent, request)
    computed = (
        f"{len(absent.keys):,} tokens computed now ({gigabytes(len(absent.keys) * store.record_bytes)})"
    )
    read = f"{store.num_records - len(absent.keys):,} were there"
    words = f"{boundary.words} are frozen and computed once: {computed}, {read}, in {folder}"
    return Trunk(boundary, learner.device, store), words


def _numbers(what: Mapping[str, Any]) -> dict[str, Any]:
    return {key: what[key] for key in ("channels", "dtype", "compute_dtype", "attention", "weights")}


def _fill(
    learner: Learner,
    way: _Way,
    store: TrunkStore,
    cache: TrunkCache,
    absent: Missing,
    request: TrunkRequest,
) -> None:
    count, boundary = len(absent.keys), way.boundary
    forecast = count * store.record_bytes
    if refused := cache.refusal(store.folder, forecast):
        raise NoTrunk(f"{boundary.words} are frozen, but what they give cannot be kept: {refused}")
    title = f"{boundary.words}, once: {count:,} tokens, {gigabytes(forecast)}"
    with request.bar(title, count, unit="tokens") as advance:
        fill(
            learner,
            store,
            request.rows,
            absent,
            request.cut,
            request.config.tokens_per_microbatch,
            way.compute(store.folder),
            advance,
        )
