"""The hash of each evaluation set at its first use, in one small file: a set that changed later is noticed.

Which candidates it was asked of stands there too: who tries often enough wins by luck.

Knows nothing of items.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.errors import EvaluationError
from luthier.files import write_json_atomic


class Ledger:
    """`{path of the set: {hash, first_used, candidates}}` in a JSON file."""

    def __init__(self, path: Path) -> None:
        """Raises EvaluationError where the file is there and is no ledger."""
        self.path = path
        self._entries: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))
                self._entries = {
                    key: {**one, "hash": str(one["hash"]), "candidates": list(one.get("candidates", ()))}
                    for key, one in entries.items()
                }
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise EvaluationError(
                    f"{path}: expected the hashes of evaluation sets, and cannot read them: {error}; put the file "
                    "back, or move it away to begin anew"
                ) from error

    def first_hash(self, path: str) -> str | None:
        """The hash at the first use, None where the set was never used."""
        entry = self._entries.get(path)
        return str(entry["hash"]) if entry else None

    def num_candidates(self, path: str) -> int:
        """How many different candidates the set was asked of."""
        return len(self._entries.get(path, {}).get("candidates", ()))

    def note(self, hashes: Mapping[str, str], candidate: str) -> None:
        """Write down sets that are used for the first time, and whom they were asked of; the first hash stays."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for path, id in hashes.items():
            entry = self._entries.setdefault(path, {"hash": id, "first_used": now, "candidates": []})
            if candidate not in entry["candidates"]:
                entry["candidates"].append(candidate)
        write_json_atomic(self.path, self._entries)
