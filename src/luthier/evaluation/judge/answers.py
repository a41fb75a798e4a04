"""Answers to judge, from a file: what `luthier eval` saved, or plain rows.

A plain row is `{question, answer}`, with `reference` and `id` where there are any. Knows nothing of judges.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from luthier.config import Config
from luthier.errors import EvaluationError
from luthier.evaluation.item import EvalItem
from luthier.evaluation.judge.results import cases_of
from luthier.evaluation.judge.rows import typed_rows
from luthier.evaluation.judge.scoring import Case
from luthier.evaluation.runner import EvalResult, load_result, summary_path
from luthier.evaluation.task import load_items


class _Row(Config):
    question: Annotated[str, Field(min_length=1)]
    answer: str
    reference: str | None = None
    id: str | int | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What was read. `result` is None for plain rows; `items` are those that were asked, where they were named."""

    cases: tuple[Case, ...]
    result: EvalResult | None
    items: tuple[EvalItem, ...]


def read_answers(path: Path, items: Path | None = None) -> Answers:
    """Saved answers with their items, or plain rows. Raises EvaluationError that names file and line."""
    if summary_path(path).is_file():
        result = load_result(path)
        asked = load_items(items) if items is not None else ()
        return Answers(tuple(cases_of(result, asked)), result, asked)
    if items is not None:
        raise EvaluationError(
            f"{path} holds plain rows, which bring their questions; items go with answers of luthier eval"
        )
    rows = typed_rows(path, _Row)
    ids = [str(row.id) if row.id is not None else str(number) for number, row in enumerate(rows, 1)]
    repeated = [one for one, count in Counter(ids).items() if count > 1]
    if repeated:
        raise EvaluationError(f"{path}: expected one row per id, found {repeated[0]!r} more than once")
    cases = [Case(one, row.question, row.answer, row.reference) for one, row in zip(ids, rows, strict=True)]
    return Answers(tuple(cases), None, ())
