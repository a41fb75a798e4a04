"""The hash of each evaluation set at its first use, in one small file: a set that changed later is noticed.

Knows nothing of items.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from luthier.errors import EvaluationError
from luthier.files import write_json_atomic


class Ledger:
    """`{path of the set: {hash, first_used}}` in a JSON file."""

    def __init__(self, path: Path) -> None:
        """Raises EvaluationError where the file is there and is no ledger."""
        self.path = path
        self._entries: dict[str, dict[str, str]] = {}
        if path.exists():
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))
                self._entries = {key: {"hash": one["hash"], **one} for key, one in entries.items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise EvaluationError(
                    f"{path}: expected the hashes of evaluation sets, and cannot read them: {error}; put the file "
                    "back, or move it away to begin anew"
                ) from error

    def first_hash(self, path: str) -> str | None:
        """The hash at the first use, None where the set was never used."""
        entry = self._entries.get(path)
        return entry["hash"] if entry else None

    def note(self, hashes: Mapping[str, str]) -> None:
        """Write down sets that are used for the first time; what is known stays as it was."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = {
            path: {"hash": id, "first_used": now} for path, id in hashes.items() if path not in self._entries
        }
        if new:
            self._entries |= new
            write_json_atomic(self.path, self._entries)
