"""JSON text into values, and what JSON libraries let through but no row may hold.

Refused: NaN and infinity, numbers too large to hold, halves of characters, nesting beyond MAX_DEPTH. Of a field that
stands twice in one object the last is taken: to notice it would cost half of the parsing again.
Knows nothing of files.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, cast

from luthier.data.sources.source import MAX_DEPTH


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null or leave the field out")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_LENIENT = json.JSONDecoder(parse_float=float, parse_int=float)

_Scan = Callable[[str, int], tuple[Any, int]]

scan: _Scan = cast(Any, _DECODER).scan_once
"""(value, where it ends) of the JSON value that begins at a position; without leading space.

Raises StopIteration where there is none, JSONDecodeError where it is broken, ValueError where it is refused,
RecursionError where it nests too deeply.
"""

scan_refused: _Scan = cast(Any, _LENIENT).scan_once
"""Like `scan`, but refuses nothing: to find where a refused value ends."""


class Refused(ValueError):
    """This JSON cannot be taken; the message says why."""


def parse(text: str) -> Any:
    """The value of a whole text. Raises JSONDecodeError, or Refused with the reason."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        raise Refused(reason(error)) from error


def reason(error: Exception) -> str:
    """What a refusal says to a person."""
    if isinstance(error, RecursionError):
        return f"it nests deeper than {MAX_DEPTH} levels"
    if "integer string conversion" in str(error):
        return "it holds a number of more digits than can be read"
    return str(error)


def fault(text: str, value: Any) -> str | None:
    """What is wrong with a value that could be parsed from the text; None where nothing is."""
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(value):
        return f"it nests deeper than {MAX_DEPTH} levels"
    # one character is found many times faster than two, and most lines without escapes hold no half either
    if "\\" in text and "\\u" in text and ("\\ud" in text or "\\uD" in text):
        return _half(value)
    return None


def _half(value: Any) -> str | None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        return f"\\u{half:04x} is half of a character, without its other half; it cannot be written as UTF-8"
    return None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True
