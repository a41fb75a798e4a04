"""Replies that were paid for, in one SQLite file: the same request is never sent twice.

A reply is found by the hash of all that made it: model, messages, schema, temperature, seed, limit of tokens. The
request is kept beside it, to be read. This file knows nothing of models and of what a reply is worth.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.errors import EvaluationError
from luthier.hashing import hash_json
from luthier.models.endpoint import Reply

_TABLE = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL)"
)
_BUSY_SECONDS = 30.0


class Cache:
    """Close it, or use it in a `with` statement. Several processes may share the file."""

    def __init__(self, path: Path | str) -> None:
        """Raises EvaluationError where the file is no cache."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(_TABLE)
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def get(self, request: Mapping[str, Any]) -> Reply | None:
        """The reply to this very request, where there is one."""
        try:
            row = self._database.execute(
                "SELECT reply FROM replies WHERE key = ?", (hash_json(request),)
            ).fetchone()
            return None if row is None else Reply(**json.loads(row[0]))
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise self._broken(error) from error

    def put(self, request: Mapping[str, Any], reply: Reply) -> None:
        """Keep a reply; it stands on the disk when this returns."""
        row = (hash_json(request), json.dumps(request), json.dumps(asdict(reply)))
        try:
            with self._database:
                self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> EvaluationError:
        return EvaluationError(
            f"{self.path}: cannot be used as a cache of judge replies: {error}; remove it or name another file"
        )
