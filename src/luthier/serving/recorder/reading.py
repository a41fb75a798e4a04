"""The record as it is read: interactions, oldest first, each with what was said of it. Knows nothing of writing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, or_, select

from luthier.errors import RegistryError
from luthier.registry.db import LOCK_SECONDS, reading
from luthier.serving.protocol import Feedback, Interaction
from luthier.serving.recorder import tables
from luthier.serving.recorder.rows import feedback_of, interaction_of

_PAGE = 500


@dataclass(frozen=True)
class Recorded:
    """An interaction and what people said of it, oldest first. `number`: its place in the record."""

    number: int
    interaction: Interaction
    feedback: tuple[Feedback, ...] = ()

    @property
    def thumb(self) -> int | None:
        """The last one given."""
        return next((one.thumb for one in reversed(self.feedback) if one.thumb is not None), None)

    @property
    def rating(self) -> int | None:
        """The last one given."""
        return next((one.rating for one in reversed(self.feedback) if one.rating is not None), None)

    @property
    def correction(self) -> str | None:
        """The last one given: what the answer should have been."""
        return next((one.correction for one in reversed(self.feedback) if one.correction is not None), None)


def read_interactions(
    path: Path | str,
    *,
    since: str | None = None,
    specialist: str | None = None,
    limit: int | None = None,
    after: int = 0,
) -> Iterator[Recorded]:
    """Interactions in the order in which they were written; a page at a time, so that any number may be read.

    since: ISO 8601, UTC; specialist: `NAME` for all its versions, or `NAME@3`; limit: the newest so many;
    after: only those of a higher number. Raises RegistryError where there is no record.
    """
    engine = _opened(Path(path))
    asked = select(tables.interactions).where(tables.interactions.c.number > after)
    if since is not None:
        asked = asked.where(tables.interactions.c.created >= since)
    if specialist is not None:
        column = tables.interactions.c.specialist
        asked = asked.where(or_(column == specialist, column.startswith(f"{specialist}@", autoescape=True)))
    if limit is not None:
        asked = _newest(asked, limit)
    yield from _pages(engine, asked)


def find_interaction(path: Path | str, id: str) -> Recorded:
    """One interaction, by its id or by an id's only beginning. Raises RegistryError where none or several match."""
    engine = _opened(Path(path))
    column = tables.interactions.c.id
    with reading(engine) as connection:
        exact = connection.execute(select(tables.interactions).where(column == id)).mappings().all()
        rows = (
            exact
            or connection.execute(
                select(tables.interactions).where(column.startswith(id, autoescape=True)).limit(2)
            )
            .mappings()
            .all()
        )
        if len(rows) != 1:
            raise RegistryError(
                f"{path}: {'several interactions begin with' if rows else 'no interaction is called'} {id!r:.80}; "
                f"see them: luthier interactions list {path}"
            )
        return _recorded(connection, [dict(rows[0])])[0]


def _newest(asked: Select[Any], limit: int) -> Select[Any]:
    newest = asked.order_by(tables.interactions.c.number.desc()).limit(limit).subquery()
    return select(tables.interactions).where(tables.interactions.c.number.in_(select(newest.c.number)))


def _pages(engine: Engine, asked: Select[Any]) -> Iterator[Recorded]:
    last = 0
    while True:
        page = asked.where(tables.interactions.c.number > last).order_by(tables.interactions.c.number)
        with reading(engine) as connection:
            rows = [dict(row) for row in connection.execute(page.limit(_PAGE)).mappings()]
            found = _recorded(connection, rows)
        yield from found
        if len(rows) < _PAGE:
            return
        last = rows[-1]["number"]


def _recorded(connection: Connection, rows: list[dict[str, Any]]) -> list[Recorded]:
    """Rows of `interactions` with their feedback."""
    said: dict[str, list[Feedback]] = {row["id"]: [] for row in rows}
    column = tables.feedback.c.interaction_id
    asked = select(tables.feedback).where(column.in_(list(said))).order_by(tables.feedback.c.number)
    for row in connection.execute(asked).mappings():
        said[row["interaction_id"]].append(feedback_of(dict(row)))
    return [Recorded(row["number"], interaction_of(row), tuple(said[row["id"]])) for row in rows]


def _opened(path: Path) -> Engine:
    if not path.is_file():
        raise RegistryError(f"{path}: no record of interactions; luthier serve --record {path} writes one")
    return tables.open_record(path, lock_seconds=LOCK_SECONDS)
