"""Answers and labels from JSON lines, each row checked by a typed value. Knows nothing of judges."""

import json
from pathlib import Path
from typing import TypeVar

from luthier.config import Config, build
from luthier.errors import ConfigError, EvaluationError

C = TypeVar("C", bound=Config)


def read_rows(path: Path | str, kind: type[C]) -> list[tuple[str, C]]:
    """(where, row) of each line that is not empty. Raises EvaluationError that names file, line and field."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise EvaluationError(
            f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}:{number}"
            rows.append((where, _row(where, line, kind)))
    if not rows:
        raise EvaluationError(f"{path}: expected one JSON object per line, the file has no rows")
    return rows


def _row(where: str, line: str, kind: type[C]) -> C:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{where}: broken JSON: {error}; expected one JSON object per line") from error
    if not isinstance(value, dict):
        raise EvaluationError(f"{where}: expected a JSON object, found {type(value).__name__}")
    try:
        return build(kind, value, where=where)
    except ConfigError as error:
        raise EvaluationError(str(error)) from error
