"""A database for what must never be half there: SQLite in a file, or any other that SQLAlchemy speaks, by its URL.

SQLite runs with a write-ahead log and full synchronisation: what was committed survives a kill and a power cut, and a
reader never waits for a writer. A transaction that may write takes the one write lock of the database when it begins,
so that what it read is still true when it writes; a reader sees one moment. Knows nothing of tables.
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
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from luthier.errors import RegistryError

LOCK_SECONDS = 30.0
"""How long a writer waits for another one."""

_READS: dict[str, Any] = {"luthier_reads": True}
_forms = Table(
    "luthier_schema",
    MetaData(),
    Column("name", String(64), primary_key=True),
    Column("form", Integer),
)


def open_database(
    place: Path | str, tables: MetaData, schema: int, *, lock_seconds: float = LOCK_SECONDS
) -> Engine:
    """The database at a path (SQLite) or a URL, with its tables made where they are missing.

    `schema`: the number of the tables' form. `lock_seconds`: how long a writer waits for another one. Raises
    RegistryError where the database cannot be opened, its driver is not installed, or it was written by a Luthier with
    a newer form.
    """
    url = str(place) if "://" in str(place) else f"sqlite:///{Path(place).absolute()}"
    name = "+".join(sorted(tables.tables))[:64]
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        engine = _engine(url, lock_seconds)
        found = _form(engine, name, tables)
        if found is None:
            found = _make(engine, name, tables, schema)
    except (SQLAlchemyError, OSError) as error:
        raise RegistryError(f"{_shown(url)}: cannot open the database: {_reason(error)}") from error
    except ModuleNotFoundError as error:
        raise RegistryError(
            f"{_shown(url)}: the driver {error.name} is not installed. For postgresql+psycopg:// it is: "
            'pip install "luthier[postgres]"'
        ) from error
    if found > schema:
        raise RegistryError(
            f"{_shown(url)}: written by a newer Luthier (tables of form {found}, this one knows {schema}): update "
            "Luthier"
        )
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Read and write, all of it or nothing; one at a time in a database.

    Raises RegistryError where the database refuses: locked for too long, full, read-only.
    """
    with _begun(engine) as connection:
        connection.execute(select(_forms).with_for_update()).all()  # the lock; SQLite holds it since BEGIN
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Read the database as it was at one moment, without waiting for a writer. Raises RegistryError."""
    one_moment = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with _begun(engine.execution_options(**_READS, **one_moment)) as connection:
        yield connection


@contextmanager
def _begun(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise RegistryError(f"{engine.url.database}: the database refuses: {_reason(error)}") from error


def _engine(url: str, lock_seconds: float) -> Engine:
    if url.startswith("postgresql"):
        waits = {"options": f"-c lock_timeout={int(lock_seconds * 1000)}"}
        return create_engine(url, poolclass=NullPool, connect_args=waits)
    engine = create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", partial(_set_up_sqlite, lock_seconds))
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _form(engine: Engine, name: str, tables: MetaData) -> int | None:
    """The form that these tables have; None where they are not all there."""
    with engine.execution_options(**_READS).begin() as connection:
        if not {_forms.name, *tables.tables} <= set(inspect(connection).get_table_names()):
            return None
        return connection.execute(select(_forms.c.form).where(_forms.c.name == name)).scalar()


def _make(engine: Engine, name: str, tables: MetaData, schema: int) -> int:
    """Make what is missing; the form that the tables have then."""
    try:
        with engine.begin() as connection:
            _forms.create(connection, checkfirst=True)
            tables.create_all(connection)
            found = connection.execute(select(_forms.c.form).where(_forms.c.name == name)).scalar()
            if found is None:
                connection.execute(_forms.insert().values(name=name, form=schema))
            return schema if found is None else int(found)
    except DBAPIError:
        found = _form(engine, name, tables)  # another process made them meanwhile
        if found is None:
            raise
        return found


def _set_up_sqlite(lock_seconds: float, connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    connection.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    """With the write lock, unless the transaction only reads."""
    reads = connection.get_execution_options().get("luthier_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True).removeprefix("sqlite:///")
    except SQLAlchemyError:
        return url.split("://")[0] + "://..."


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())[:300]
