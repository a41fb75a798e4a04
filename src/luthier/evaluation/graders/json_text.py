"""JSON as models write it: bare, or inside one code fence. Anything else around it is not JSON.

This file knows nothing of items and verdicts.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_FENCE = re.compile(r"\s*```[a-zA-Z]*\s*\n(?P<body>.*?)\n?\s*```\s*", re.DOTALL)


def read_json(text: str) -> Any:
    """The value of the text. Raises ValueError where it is not one JSON value, bare or in one code fence."""
    fenced = _FENCE.fullmatch(text)
    try:
        return json.loads(fenced["body"] if fenced else text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_bare(text: str) -> bool:
    """Whether the text is JSON without a code fence, so that a program can read it as it stands."""
    return _FENCE.fullmatch(text) is None


def spell_json(value: Any) -> str:
    """The value as JSON text, in the order of its keys."""
    return json.dumps(value, ensure_ascii=False)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
