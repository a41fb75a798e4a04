"""Sets of a model hub, streamed by `datasets`: `org/name`, `org/name:split`, `hub:name`.

`datasets` is imported when such a set is read. Code of a set is never run.
Knows nothing of what the fields mean.
"""

import os
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from luthier.data.rows import Row, UnreadableRow, place_of
from luthier.data.sources.plain import NotPlain, plain
from luthier.data.sources.source import OnBytes, Shard, SourceFile
from luthier.errors import DataError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
PREFIX = "hub:"
_PATIENCE_SECONDS = 15.0


def is_hub_id(place: str) -> bool:
    """Whether a place that is no file can be a set of the hub."""
    return place.startswith(PREFIX) or _ID.fullmatch(place) is not None


def read_hub(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """The rows of one split, of all splits one after another where there is none named `train`."""
    place = file.place
    try:
        rows = _stream(*_name_and_split(place))
        for number, value in enumerate(rows, start=1):
            yield _row(place, number, value)
    except DataError:
        raise
    except Exception as error:  # the hub, the network and the set raise a dozen kinds; none can be read past
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{place}: no such file here, and the hub set cannot be read: {reason}. Check the name, the split and the "
            "network, or download its files and name those"
        ) from error


def _row(place: str, number: int, value: Any) -> Row | UnreadableRow:
    try:
        return Row(place, number, plain(value), "row")
    except NotPlain as error:
        problem = f"{place_of(place, number, 'row')}: {error}"
        return UnreadableRow(place, number, "broken_table", problem, "row")


def _name_and_split(place: str) -> tuple[str, str | None]:
    name, _, split = place.removeprefix(PREFIX).partition(":")
    return name, split or None


def _stream(name: str, split: str | None) -> Iterator[Any]:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{name}: reading a set of the hub needs a package: pip install 'luthier[hub]'"
        ) from error
    _refuse_unknown(name)
    loaded: Any = datasets.load_dataset(name, split=split, streaming=True)
    if split is not None:
        return iter(loaded)
    return iter(loaded["train"]) if "train" in loaded else chain.from_iterable(loaded.values())


def _refuse_unknown(name: str) -> None:
    """Ask the hub once for the set: `datasets` itself would ask six times over half a minute before it gives up."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if not os.path.exists(name) and not HF_HUB_OFFLINE:
        HfApi().dataset_info(name, timeout=_PATIENCE_SECONDS)
