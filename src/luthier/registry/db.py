"""A database for what must never be half there: SQLite in a file, or any other that SQLAlchemy speaks, by its URL.

SQLite runs with a write-ahead log and full synchronisation: what was committed survives a kill and a power cut, and a
reader never waits for a writer. A transaction takes the write lock when it begins, so that what it read is still true
when it writes. Knows nothing of tables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from luthier.errors import RegistryError

LOCK_SECONDS = 30.0
"""How long a writer waits for another one."""


def open_database(
    place: Path | str, tables: MetaData, schema: int, *, lock_seconds: float = LOCK_SECONDS
) -> Engine:
    """The database at a path (SQLite) or a URL, with its tables made where they are missing.

    `schema`: the number of the tables' form. `lock_seconds`: how long SQLite waits for another writer. Raises
    RegistryError where the database cannot be opened, or was written by a Luthier with a newer form.
    """
    url = str(place) if "://" in str(place) else f"sqlite:///{Path(place).absolute()}"
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, poolclass=NullPool)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", partial(_set_up_sqlite, lock_seconds))
            event.listen(engine, "begin", _begin_with_the_lock)
        forms = Table(
            "luthier_schema",
            MetaData(),
            Column("name", String(64), primary_key=True),
            Column("form", Integer),
        )
        with engine.begin() as connection:
            forms.create(connection, checkfirst=True)
            tables.create_all(connection)
            name = "+".join(sorted(tables.tables))[:64]
            found = connection.execute(select(forms.c.form).where(forms.c.name == name)).scalar()
            if found is None:
                connection.execute(forms.insert().values(name=name, form=schema))
    except (SQLAlchemyError, OSError) as error:
        raise RegistryError(f"{place}: cannot open the database: {_reason(error)}") from error
    if found is not None and found > schema:
        raise RegistryError(
            f"{place}: written by a newer Luthier (tables of form {found}, this one knows {schema}): update Luthier"
        )
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """All of it or nothing. Raises RegistryError where the database refuses: locked for too long, full, read-only."""
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise RegistryError(f"{engine.url.database}: the database refuses: {_reason(error)}") from error


def _set_up_sqlite(lock_seconds: float, connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    connection.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_with_the_lock(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())[:300]
