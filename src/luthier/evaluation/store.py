"""Every prompt, answer, count, latency and verdict in one SQLite file, as it comes.

An evaluation that was killed goes on where it stood: answers are found again by what they depend on, which is the
model's weights, the items, the prompts, the settings and the batches. Whole batches are kept in one transaction each.
The JSON lines and the summary that `save_result` writes are the portable form; this file survives a kill.
It knows nothing of how an answer comes to be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)

from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import AnsweredItem, EvalSettings, ItemResult
from luthier.hashing import hash_json
from luthier.registry.db import open_database, transaction

FILE_NAME = "evaluations.sqlite"
FORM = 1

tables = MetaData()

evaluations = Table(
    "evaluations",
    tables,
    Column("number", Integer, primary_key=True),
    Column("key", String(80), nullable=False, index=True),
    Column("created", String(40), nullable=False),
    Column("model_name", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("num_items", Integer, nullable=False),
    Column("asked", Text, nullable=False),
)

answers = Table(
    "answers",
    tables,
    Column("evaluation", Integer, ForeignKey("evaluations.number"), primary_key=True),
    Column("id", String(512), primary_key=True),
    Column("tags", Text, nullable=False),
    Column("source", Text),
    Column("prompt", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("num_prompt_tokens", Integer),
    Column("num_tokens", Integer),
    Column("termination", String(16), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("latency_seconds", Float),
    Column("grader", String(64), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("score", Float, nullable=False),
    Column("reason", Text, nullable=False),
)


@dataclass(frozen=True)
class Asked:
    """What answers depend on. model: its identity, a hash; repeat: 0, 1, ... where the same is asked again.

    `extra`: what else an answer hangs on (the documents that a baseline looks up, for one), as JSON values.
    """

    model: str
    items_hash: str
    settings: EvalSettings
    system_prompt: str | None = None
    few_shot: tuple[Mapping[str, Any], ...] = ()
    repeat: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "few_shot": [dict(message) for message in self.few_shot]}

    @property
    def key(self) -> str:
        return hash_json(self.values)


@dataclass(frozen=True, slots=True)
class Stored:
    """One evaluation of the file. `asked`: the values of `Asked`."""

    number: int
    created: str
    model_name: str
    task: str
    num_items: int
    num_answered: int
    num_passed: int
    num_graded: int
    asked: Mapping[str, Any]

    @property
    def accuracy(self) -> float | None:
        return self.num_passed / self.num_graded if self.num_graded else None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "accuracy": self.accuracy}


class EvalStore:
    """The evaluations of a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises RegistryError where the file cannot be opened."""
        self._engine = open_database(folder / FILE_NAME, tables, FORM)

    def begin(
        self, asked: Asked, *, model_name: str, task: str, num_items: int, resume: bool
    ) -> StoredAnswers:
        """A place for answers: with `resume` the last one of the same `asked` and what it holds, else a new one."""
        with transaction(self._engine) as connection:
            number = None
            if resume:
                same = select(func.max(evaluations.c.number)).where(evaluations.c.key == asked.key)
                number = connection.execute(same).scalar()
            known = {} if number is None else {one.id: one for one in _answers(connection, number)}
            if number is None:
                values = {
                    "key": asked.key,
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "model_name": model_name,
                    "task": task,
                    "num_items": num_items,
                    "asked": json.dumps(asked.values, ensure_ascii=False),
                }
                made = connection.execute(insert(evaluations).values(values).returning(evaluations.c.number))
                number = made.scalar_one()
        return StoredAnswers(self, int(number), known)

    def add(self, number: int, results: Sequence[ItemResult]) -> None:
        """Keep results of one evaluation; those of the same items are replaced. All of them or none."""
        rows = [{"evaluation": number, **_values(result)} for result in results]
        with transaction(self._engine) as connection:
            ids = [row["id"] for row in rows]
            connection.execute(delete(answers).where(answers.c.evaluation == number, answers.c.id.in_(ids)))
            connection.execute(insert(answers), rows)

    def all(self) -> list[Stored]:
        """All evaluations, newest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(evaluations).order_by(evaluations.c.number.desc())).all()
            return [_stored(connection, row) for row in rows]

    def find(self, number: int) -> tuple[Stored, list[ItemResult]]:
        """One evaluation with its answers by id. Raises EvaluationError where there is no such number."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(evaluations).where(evaluations.c.number == number)).first()
            if row is None:
                raise EvaluationError(
                    f"no evaluation has the number {number}; luthier eval list shows what there is"
                )
            return _stored(connection, row), _answers(connection, number)


@dataclass(frozen=True)
class StoredAnswers:
    """The answers of one evaluation, for `runner.evaluate`. `known`: those that were there at the start."""

    store: EvalStore
    number: int
    known: Mapping[str, ItemResult]

    def answer(self, item_id: str) -> AnsweredItem | None:
        one = self.known.get(item_id)
        if one is None:
            return None
        return AnsweredItem(
            text=one.answer,
            token_ids=None,
            prompt=one.prompt,
            num_prompt_tokens=one.num_prompt_tokens,
            termination=one.termination,
            seconds=one.seconds,
            latency_seconds=one.latency_seconds,
            num_server_tokens=one.num_tokens,
        )

    def add(self, results: Sequence[ItemResult]) -> None:
        self.store.add(self.number, results)


def _values(result: ItemResult) -> dict[str, Any]:
    values = {**asdict(result), "tags": json.dumps(result.tags, ensure_ascii=False)}
    # A lone surrogate is no UTF-8: kept as a question mark here, as it is in the portable form.
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    return {**values, **{key: text.encode("utf-8", "replace").decode() for key, text in texts.items()}}


def _answers(connection: Connection, number: int) -> list[ItemResult]:
    asked = select(answers).where(answers.c.evaluation == number).order_by(answers.c.id)
    found = []
    for row in connection.execute(asked):
        values = {key: value for key, value in row._mapping.items() if key != "evaluation"}
        words = {"termination": Termination(row.termination), "verdict": VerdictWord(row.verdict)}
        found.append(ItemResult(**{**values, "tags": tuple(json.loads(row.tags)), **words}))
    return found


def _stored(connection: Connection, row: Row[Any]) -> Stored:
    counted = select(answers.c.verdict, func.count()).where(answers.c.evaluation == row.number)
    counts = {one[0]: one[1] for one in connection.execute(counted.group_by(answers.c.verdict))}
    num_answered = sum(counts.values())
    return Stored(
        number=row.number,
        created=row.created,
        model_name=row.model_name,
        task=row.task,
        num_items=row.num_items,
        num_answered=num_answered,
        num_passed=counts.get(VerdictWord.PASSED.value, 0),
        num_graded=num_answered - counts.get(VerdictWord.UNGRADABLE.value, 0),
        asked=json.loads(row.asked),
    )
