"""The tables of the record. Its file is apart from every other database: it holds what people wrote.

    interactions   a request with its answers; `body` holds the texts as JSON, the other columns are what is searched
    feedback       what a person said of an answer, each time they said something

Knows nothing of how they are written and read.
"""

import os
from pathlib import Path

from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, Text

from luthier.registry.db import open_database

FORM = 1

tables = MetaData()

interactions = Table(
    "interactions",
    tables,
    Column("number", Integer, primary_key=True),
    Column("id", String(128), nullable=False, unique=True),
    Column("created", String(40), nullable=False, index=True),
    Column("key_id", String(64)),
    Column("model", Text, nullable=False),
    Column("specialist", String(160), index=True),
    Column("outcome", String(16), nullable=False),
    Column("shadow_of", String(128), index=True),
    Column("num_prompt", Integer, nullable=False),
    Column("num_generated", Integer, nullable=False),
    Column("num_prompt_cached", Integer, nullable=False),
    Column("first_token_seconds", Float),
    Column("total_seconds", Float, nullable=False),
    Column("body", Text, nullable=False),
)

feedback = Table(
    "feedback",
    tables,
    Column("number", Integer, primary_key=True),
    Column("interaction_id", String(128), nullable=False, index=True),
    Column("created", String(40), nullable=False),
    Column("thumb", Integer),
    Column("rating", Integer),
    Column("correction", Text),
    Column("comment", Text),
    Column("key_id", String(64)),
)


def open_record(path: Path, *, lock_seconds: float) -> Engine:
    """The database, made where it is not there, readable by its owner alone. Raises RegistryError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # what SQLite puts beside it gets the same mode
    return open_database(path, tables, FORM, lock_seconds=lock_seconds)
