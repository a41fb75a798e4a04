"""Finished steps of a job, kept beside the hash of what each depended on, so that none is done twice.

Knows nothing of what a step does.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.files import write_json_atomic
from luthier.hashing import hash_json

Say = Callable[[str, str], None]
"""Is told (name of the step, one line with its result)."""


class Steps:
    """Finished steps of one folder: `steps/NAME.json` holds the hash of a step's inputs and its result."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder, self._say = folder / "steps", say

    def do(
        self,
        name: str,
        inputs: Any,
        work: Callable[[], dict[str, Any]],
        tell: Callable[[dict[str, Any]], str],
    ) -> dict[str, Any]:
        """Do a step, or read its result back where it was done with the same inputs and its files stand."""
        path, inputs_hash = self._folder / f"{name.replace(' ', '-')}.json", hash_json(inputs)
        if (done := _read_step(path)) is not None and done["inputs"] == inputs_hash:
            result: dict[str, Any] = done["result"]
            if all(Path(file).exists() for file in result.get("files", [])):
                self._say(name, f"{tell(result)} (done before)")
                return result
        result = work()
        write_json_atomic(path, {"inputs": inputs_hash, "result": result})
        self._say(name, tell(result))
        return result


def _read_step(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and {"inputs", "result"} <= value.keys() else None
