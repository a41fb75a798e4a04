"""Fields of a row as a person names them: `score`, or `meta.score` inside others. Knows nothing of formats."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

MISSING = object()


def field_value(row: Mapping[str, Any], name: str) -> Any:
    """The value of a field, or of one inside others with dots between; MISSING where there is none."""
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def number_of(value: Any) -> float | None:
    """A finite number, also one written as a text, as tables give it; None for everything else."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
