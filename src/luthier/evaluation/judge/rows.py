"""Answers and labels from JSON lines, each row checked by a typed value. Knows nothing of judges."""

from pathlib import Path
from typing import TypeVar

from luthier.config import Config, build
from luthier.errors import ConfigError, EvaluationError
from luthier.evaluation.task import read_rows

C = TypeVar("C", bound=Config)


def typed_rows(path: Path | str, kind: type[C]) -> list[C]:
    """A value of `kind` for each line that is not empty. Raises EvaluationError that names file, line and field."""
    try:
        rows = [build(kind, row, where=f"{path}:{number}") for number, row in read_rows(Path(path))]
    except ConfigError as error:
        raise EvaluationError(str(error)) from error
    if not rows:
        raise EvaluationError(f"{path}: expected one JSON object per line, the file has no rows")
    return rows
