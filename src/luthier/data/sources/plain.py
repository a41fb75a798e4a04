"""Typed values of Arrow and of hub sets into what JSON can hold.

Knows nothing of files.
"""

import datetime
import decimal
import math
from collections.abc import Mapping
from typing import Any


class NotPlain(ValueError):
    """A value that JSON cannot hold; the message says which and why."""


def plain(value: Any, field: str = "") -> Any:
    """The value of a field as JSON holds it: dates and decimals as text, a number that is none as null.

    Raises NotPlain for bytes, infinity and objects (pictures, sounds).
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise NotPlain(f"the field {field!r} holds infinity, which JSON cannot hold")
        return None if math.isnan(value) else value  # libraries of tables write NaN for a missing number
    if isinstance(value, Mapping):
        return {str(key): plain(one, f"{field}.{key}" if field else str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, field) for one in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta | decimal.Decimal):
        return str(value)
    what = "bytes" if isinstance(value, bytes | bytearray | memoryview) else type(value).__name__
    raise NotPlain(
        f"the field {field!r} holds {what}, which is no text; leave the column out, or write it as text"
    )
