"""Is the store what it says, and what in it is needed by nobody.

Reads every byte. Whatever a killed process left behind is harmless and is named as such; a version that has lost bytes
is damage. Knows nothing of models.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from luthier.errors import RegistryError
from luthier.registry.artifacts import Artifact
from luthier.registry.db import reading, transaction
from luthier.registry.specialist import manifest_id
from luthier.registry.specialist_tables import aliases, events, files, versions
from luthier.registry.specialists import SpecialistStore


@dataclass(frozen=True, slots=True)
class StoreReport:
    """`problems`: damage, one sentence each. `unneeded`: ids of bytes that no version needs."""

    num_versions: int
    num_files: int
    num_bytes: int
    problems: tuple[str, ...]
    unneeded: tuple[str, ...]

    @property
    def word(self) -> str:
        """`sound` or `damaged`."""
        return "damaged" if self.problems else "sound"


def verify(store: SpecialistStore) -> StoreReport:
    """Every version's hash, every file's hash, every alias and every promotion."""
    with reading(store._engine) as connection:
        rows = connection.execute(select(versions).order_by(versions.c.name, versions.c.number)).all()
        needed = _needed(connection)
        kept = {
            row.id: set(
                connection.execute(select(files.c.path).where(files.c.version_id == row.id)).scalars()
            )
            for row in rows
        }
        places = _places(connection)
        problems = list(_wrong_aliases(connection, {(row.name, row.number) for row in rows}))
    for row in rows:
        manifest = json.loads(row.manifest)
        if manifest_id(manifest) != row.id:
            problems.append(f"{row.name}@{row.number}: its manifest does not give its id {row.id}")
        if set(manifest["files"]) != kept[row.id]:
            problems.append(f"{row.name}@{row.number}: its manifest and the table of files differ")
    by_id = {one.id: one for one in needed}
    problems += [
        f"{', '.join(places[one.id])}: {problem}"
        for one in by_id.values()
        if (problem := store.artifacts.damage(one)) is not None
    ]
    unneeded = tuple(sorted(id for id in store.artifacts.ids() if id not in by_id))
    return StoreReport(
        len(rows), len(by_id), sum(one.num_bytes for one in by_id.values()), tuple(problems), unneeded
    )


def collect(store: SpecialistStore) -> int:
    """Remove the bytes that no version needs; how many files these were.

    Holds the lock meanwhile: a version that is being committed looks again, with the lock, whether its bytes are here.
    """
    with transaction(store._engine) as connection:
        needed = {one.id for one in _needed(connection)}
        unneeded = [id for id in store.artifacts.ids() if id not in needed]
        for id in unneeded:
            store.artifacts.remove(id)
    return len(unneeded)


def _needed(connection: Connection) -> set[Artifact]:
    """Bytes of versions that are there. Files of a removed version stay in the table, for one that comes again."""
    alive = select(versions.c.id)
    rows = connection.execute(select(files.c.sha256, files.c.num_bytes).where(files.c.version_id.in_(alive)))
    return {Artifact(row.sha256, row.num_bytes) for row in rows}


def _places(connection: Connection) -> dict[str, list[str]]:
    """The versions and paths that bytes stand for, by the id of the bytes."""
    holds = files.join(versions, files.c.version_id == versions.c.id)
    asked = select(versions.c.name, versions.c.number, files.c.path, files.c.sha256).select_from(holds)
    places: dict[str, list[str]] = {}
    for row in connection.execute(asked.order_by(versions.c.name, versions.c.number, files.c.path)):
        places.setdefault(row.sha256, []).append(f"{row.name}@{row.number} {row.path}")
    return places


def _wrong_aliases(connection: Connection, there: set[tuple[str, int]]) -> Iterator[str]:
    """Words that mean a version that is gone, or not the one that the last event says."""
    for row in connection.execute(select(aliases)).all():
        if (row.name, row.number) not in there:
            yield f"{row.name}: {row.alias!r} means version {row.number}, which is not there"
        last = connection.execute(
            select(events.c.version)
            .where(events.c.name == row.name, events.c.alias == row.alias)
            .order_by(events.c.number.desc())
        ).scalar()
        if last != row.number:
            yield f"{row.name}: {row.alias!r} means version {row.number}, but its last event says {last}"


def require_sound(store: SpecialistStore) -> StoreReport:
    """`verify`; raises RegistryError that lists the damage."""
    report = verify(store)
    if report.problems:
        raise RegistryError(f"{store.root}: damaged:\n  " + "\n  ".join(report.problems))
    return report
