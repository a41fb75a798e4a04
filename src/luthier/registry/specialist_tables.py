"""The tables of the store of specialists. Files are not in them, only their hashes.

    specialists   the names
    versions      NAME@NUMBER: a manifest that never changes, under the hash of its content
    files         which bytes a version needs
    records       what became known about a version later: verdicts, certificates, evaluations, exports
    aliases       which version a word such as `production` means now
    events        every commit, promotion, rollback and removal, in order

Knows nothing of how they are written and read.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

FORM = 1

tables = MetaData()

specialists = Table("specialists", tables, Column("name", String(64), primary_key=True))

versions = Table(
    "versions",
    tables,
    Column("name", String(64), ForeignKey("specialists.name"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", String(80), nullable=False),
    Column("created", String(40), nullable=False),
    Column("manifest", Text, nullable=False),
    UniqueConstraint("name", "id"),
)

files = Table(
    "version_files",
    tables,
    Column("version_id", String(80), primary_key=True),
    Column("path", String(512), primary_key=True),
    Column("sha256", String(80), nullable=False, index=True),
    Column("num_bytes", BigInteger, nullable=False),
)

records = Table(
    "records",
    tables,
    Column("number", Integer, primary_key=True),
    Column("version_id", String(80), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("created", String(40), nullable=False),
    Column("body", Text, nullable=False),
)

aliases = Table(
    "aliases",
    tables,
    Column("name", String(64), ForeignKey("specialists.name"), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
)

events = Table(
    "events",
    tables,
    Column("number", Integer, primary_key=True),
    Column("time", String(40), nullable=False),
    Column("name", String(64), nullable=False, index=True),
    Column("what", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("alias", String(64)),
    Column("before", Integer),
    Column("reason", Text),
)
