"""The store of specialists: versions that never change, and words such as `production` that move between them.

Files go into `artifacts` first, under their hashes; then one transaction makes the version known. A process that dies
in between leaves bytes that nobody needs, never a version without its bytes. Promotions and rollbacks are one
transaction each, so that a word always means one whole version, and each is kept with its reason.
Knows nothing of models, of runs, and of what a verdict is beyond its word.
"""

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from luthier.errors import RegistryError
from luthier.files import atomic_directory, cache_folder
from luthier.registry.artifacts import Artifact, Artifacts
from luthier.registry.db import open_database, reading, transaction
from luthier.registry.specialist import (
    LATEST,
    MANIFEST_FORMAT,
    Ref,
    Specialist,
    check_name,
    manifest_id,
    parse_ref,
)
from luthier.registry.specialist_tables import (
    FORM,
    aliases,
    events,
    files,
    records,
    specialists,
    tables,
    versions,
)

SHIP = "ship"
PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `before`: the version that the alias meant until then."""

    time: str
    name: str
    what: str
    version: int
    alias: str | None = None
    before: int | None = None
    reason: str | None = None

    @property
    def told(self) -> str:
        """It as a line, without its time."""
        words = [self.what, f"{self.name}@{self.version}"]
        words += [f"as {self.alias}"] if self.alias else []
        words += [f"(was {self.before})"] if self.before is not None else []
        return " ".join(words) + (f": {self.reason}" if self.reason else "")


class SpecialistStore:
    """The specialists under one root: a folder, or a URL of fsspec with the URL of a database."""

    def __init__(self, root: Path | str, database: str | None = None) -> None:
        """Raises RegistryError where the database cannot be opened, or where a remote root comes without one."""
        self.root = str(root)
        if database is None and "://" in self.root:
            raise RegistryError(
                f"{self.root}: files can lie there, but not the database: name one too, such as "
                "postgresql+psycopg://host/luthier (LUTHIER_DATABASE)"
            )
        self.artifacts = Artifacts(f"{self.root.rstrip('/')}/files")
        self._engine = open_database(database or Path(self.root) / "store.sqlite", tables, FORM)

    # ---- what there is

    def names(self) -> list[str]:
        """The names that have versions."""
        with reading(self._engine) as connection:
            return [
                row.name for row in connection.execute(select(versions.c.name).distinct().order_by("name"))
            ]

    def versions(self, name: str) -> list[Specialist]:
        """The versions of a name, newest first."""
        with reading(self._engine) as connection:
            return _versions(connection, name)

    def find(self, ref: Ref | str) -> Specialist:
        """The version that a reference means. Raises RegistryError that lists what there is."""
        with reading(self._engine) as connection:
            return _find(connection, parse_ref(ref) if isinstance(ref, str) else ref)

    def aliases(self, name: str) -> dict[str, int]:
        """Which version each word means now."""
        with reading(self._engine) as connection:
            return _aliases(connection, name)

    def history(self, name: str) -> list[Event]:
        """What happened to a name, oldest first."""
        wanted = [events.c[key] for key in Event.__dataclass_fields__]
        with reading(self._engine) as connection:
            rows = connection.execute(select(*wanted).where(events.c.name == name).order_by(events.c.number))
            return [Event(*row) for row in rows]

    def news(self, after: int | None = None) -> tuple[int, list[Event]]:
        """(number of the last event, what happened to any name since event `after`, oldest first). None: nothing."""
        columns = [events.c.number, *(events.c[key] for key in Event.__dataclass_fields__)]
        with reading(self._engine) as connection:
            last = connection.execute(select(func.max(events.c.number))).scalar() or 0
            since = last if after is None else after
            rows = connection.execute(
                select(*columns).where(events.c.number > since).order_by(events.c.number)
            )
            return last, [Event(*row[1:]) for row in rows]

    def records(self, specialist: Specialist, kind: str | None = None) -> list[dict[str, Any]]:
        """What became known about a version, oldest first: `{kind, created, body}`."""
        asked = select(records).where(records.c.version_id == specialist.id).order_by(records.c.number)
        with reading(self._engine) as connection:
            rows = connection.execute(asked if kind is None else asked.where(records.c.kind == kind))
            return [{"kind": row.kind, "created": row.created, "body": json.loads(row.body)} for row in rows]

    # ---- what changes it

    def commit(
        self, name: str, parts: Mapping[str, Path], details: Mapping[str, Any]
    ) -> tuple[Specialist, bool]:
        """Keep a bundle as the next version of a name; (the version, whether it is new).

        `parts`: files by their path inside the bundle; `details`: what the manifest says beside them. A bundle that is
        a version of this name already stays that version. Raises RegistryError; nothing is changed then.
        """
        check_name("specialist", name)
        if not parts:
            raise RegistryError(f"{name}: a specialist without files is none")
        kept = {path: self.artifacts.add(source) for path, source in sorted(parts.items())}
        manifest = {
            **details,
            "format": MANIFEST_FORMAT,
            "files": {path: {"sha256": one.id, "bytes": one.num_bytes} for path, one in kept.items()},
        }
        id = manifest_id(manifest)
        with transaction(self._engine) as connection:
            for path, source in parts.items():
                if not self.artifacts.holds(kept[path]):  # somebody cleared what no version needed yet
                    self.artifacts.add(source)
            return _insert(connection, name, id, {**manifest, "name": name}, kept)

    def attach(self, specialist: Specialist, kind: str, body: Mapping[str, Any]) -> None:
        """Keep what became known about a version: a verdict, a certificate, an evaluation, an export."""
        with transaction(self._engine) as connection:
            _find(connection, Ref(specialist.name, str(specialist.number)))
            text = _json(f"{specialist.ref}: the record {kind!r}", dict(body))
            values = {"version_id": specialist.id, "kind": kind, "created": _now(), "body": text}
            connection.execute(insert(records).values(values))

    def promote(
        self, ref: Ref | str, alias: str = PRODUCTION, *, reason: str | None = None, force: bool = False
    ) -> Event:
        """Let a word mean this version from now on.

        Raises RegistryError where the version's last verdict is not `ship`, unless `force` with a `reason`, which is
        kept.
        """
        _check_alias(alias)
        if force and not (reason or "").strip():
            raise RegistryError(
                "promoting without a verdict `ship` needs a reason, which is kept: --reason TEXT"
            )
        wanted = parse_ref(ref) if isinstance(ref, str) else ref
        with transaction(self._engine) as connection:
            found = _find(connection, wanted)
            word = _last_verdict(connection, found.id)
            if word != SHIP and not force:
                has = f"its last verdict is `{word}`" if word else "it has no verdict"
                raise RegistryError(
                    f"{found.ref} cannot be promoted: {has}, and only `ship` may be. Run luthier gate {found.ref}, or "
                    "promote it with --force --reason TEXT"
                )
            return _point(connection, found, alias, "promote", reason)

    def rollback(self, name: str, alias: str = PRODUCTION, *, reason: str | None = None) -> Event:
        """Let a word mean again what it meant before its last promotion. Raises RegistryError where there is none."""
        check_name("specialist", name)
        with transaction(self._engine) as connection:
            now = _aliases(connection, name).get(alias)
            if now is None:
                raise RegistryError(f"{name}: no version is {alias!r}, so there is nothing to roll back")
            before = _before(connection, name, alias)
            if before is None:
                raise RegistryError(
                    f"{name}@{now} is the first version that was {alias!r}: there is none before it"
                )
            return _point(connection, _find(connection, Ref(name, str(before))), alias, "rollback", reason)

    def unset(self, name: str, alias: str) -> Event:
        """Let a word mean nothing any more. Raises RegistryError where it meant nothing."""
        with transaction(self._engine) as connection:
            now = _aliases(connection, name).get(alias)
            if now is None:
                raise RegistryError(f"{name}: no version is {alias!r}")
            connection.execute(delete(aliases).where(aliases.c.name == name, aliases.c.alias == alias))
            return _note(connection, Event(_now(), name, "unset", now, alias, now))

    def remove(self, ref: Ref | str) -> Specialist:
        """Forget a version; its number is never used again. `collect` of `specialist_check` frees its bytes.

        Raises RegistryError where a word means it: whoever asks for that word would find nothing.
        """
        wanted = parse_ref(ref) if isinstance(ref, str) else ref
        with transaction(self._engine) as connection:
            found = _find(connection, wanted)
            used = [
                alias for alias, number in _aliases(connection, found.name).items() if number == found.number
            ]
            if used:
                raise RegistryError(
                    f"{found.ref} is in use: it is {', '.join(map(repr, used))}. Promote another version, or unset the "
                    "word, then remove it"
                )
            where = (versions.c.name == found.name, versions.c.number == found.number)
            connection.execute(delete(versions).where(*where))
            _note(connection, Event(_now(), found.name, "remove", found.number))
            return found

    # ---- its files

    def checkout(self, specialist: Specialist, folder: Path) -> Path:
        """Write the bundle's files into a folder that is not there yet, each held against its hash."""
        with atomic_directory(folder, replace=False) as new:
            for path, artifact in specialist.files.items():
                self.artifacts.copy(artifact, new / path)
        return folder

    def opened(self, specialist: Specialist) -> Path:
        """A folder with the bundle's files, made once and used again: what a model is loaded from."""
        folder = cache_folder("specialists") / specialist.id.removeprefix("sha256:")
        if not folder.is_dir():
            try:
                self.checkout(specialist, folder)
            except OSError as error:
                if not folder.is_dir():  # else another process was faster, with the same bytes
                    raise RegistryError(f"{folder}: cannot open {specialist.ref}: {error}") from error
        return folder


def default_store() -> SpecialistStore:
    """$LUTHIER_SPECIALISTS (a folder or a URL) and $LUTHIER_DATABASE, or `specialists` in the working folder."""
    root = os.environ.get("LUTHIER_SPECIALISTS") or "specialists"
    return SpecialistStore(root, os.environ.get("LUTHIER_DATABASE"))


def has_default_store() -> bool:
    """Whether `default_store` has been written to; asking makes nothing."""
    root = os.environ.get("LUTHIER_SPECIALISTS") or "specialists"
    return "LUTHIER_DATABASE" in os.environ or "://" in root or (Path(root) / "store.sqlite").exists()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _json(what: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RegistryError(f"{what} is not made of JSON values: {error}") from error


def _versions(connection: Connection, name: str) -> list[Specialist]:
    rows = connection.execute(
        select(versions).where(versions.c.name == name).order_by(versions.c.number.desc())
    )
    return [_specialist(connection, row) for row in rows.all()]


def _specialist(connection: Connection, row: Row[Any]) -> Specialist:
    kept = connection.execute(select(files).where(files.c.version_id == row.id).order_by(files.c.path))
    parts = {one.path: Artifact(one.sha256, one.num_bytes) for one in kept}
    return Specialist(row.name, row.number, row.id, row.created, json.loads(row.manifest), parts)


def _find(connection: Connection, ref: Ref) -> Specialist:
    found = _versions(connection, ref.name)
    if not found:
        names = connection.execute(select(versions.c.name).distinct()).scalars().all()
        near = difflib.get_close_matches(ref.name, names, n=1)
        instead = (
            f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(names)) or 'none yet'}"
        )
        raise RegistryError(f"no specialist is called {ref.name!r}; {instead}")
    if ref.what == LATEST:
        return found[0]
    meant = _aliases(connection, ref.name).get(ref.what) if ref.number is None else ref.number
    if meant is not None:
        matches = [one for one in found if one.number == meant]
    else:
        matches = [one for one in found if one.id.removeprefix("sha256:").startswith(ref.what)]
    if len(matches) != 1:
        listed = ", ".join(f"{one.number} ({one.short_id})" for one in found)
        words = ", ".join(f"{word} = {number}" for word, number in _aliases(connection, ref.name).items())
        raise RegistryError(
            f"{ref}: {'several versions begin so' if matches else 'there is no such version'}; there are {listed}"
            + (f"; {words}" if words else "")
        )
    return matches[0]


def _insert(
    connection: Connection, name: str, id: str, manifest: Mapping[str, Any], kept: Mapping[str, Artifact]
) -> tuple[Specialist, bool]:
    same = connection.execute(select(versions).where(versions.c.name == name, versions.c.id == id)).first()
    if same is not None:
        return _specialist(connection, same), False
    if connection.execute(select(specialists).where(specialists.c.name == name)).first() is None:
        connection.execute(insert(specialists).values(name=name))
    # Events outlive removed versions, so that a number never means two things.
    used = connection.execute(select(func.max(events.c.version)).where(events.c.name == name)).scalar()
    number, created = (used or 0) + 1, _now()
    text = _json(f"{name}: the manifest", {**manifest, "created": created})
    connection.execute(
        insert(versions).values(name=name, number=number, id=id, created=created, manifest=text)
    )
    if connection.execute(select(files.c.path).where(files.c.version_id == id)).first() is None:
        rows = [
            {"version_id": id, "path": path, "sha256": one.id, "num_bytes": one.num_bytes}
            for path, one in kept.items()
        ]
        connection.execute(insert(files), rows)
    _note(connection, Event(created, name, "commit", number))
    return Specialist(name, number, id, created, json.loads(text), dict(kept)), True


def _aliases(connection: Connection, name: str) -> dict[str, int]:
    rows = connection.execute(select(aliases).where(aliases.c.name == name).order_by(aliases.c.alias))
    return {row.alias: row.number for row in rows}


def _last_verdict(connection: Connection, id: str) -> str | None:
    asked = select(records.c.body).where(records.c.version_id == id, records.c.kind == "verdict")
    body = connection.execute(asked.order_by(records.c.number.desc())).scalars().first()
    return str(json.loads(body).get("word")) if body is not None else None


def _before(connection: Connection, name: str, alias: str) -> int | None:
    """What the alias meant before its last promotion that was not taken back."""
    moves = connection.execute(
        select(events).where(events.c.name == name, events.c.alias == alias).order_by(events.c.number)
    )
    stack: list[int | None] = []
    for move in moves:
        if move.what == "promote" and move.before != move.version:
            stack.append(move.before)
        elif move.what == "rollback" and stack:
            stack.pop()
        elif move.what == "unset":
            stack.clear()
    there = {
        row.number for row in connection.execute(select(versions.c.number).where(versions.c.name == name))
    }
    while stack:
        before = stack.pop()
        if before in there:
            return before
    return None


def _point(connection: Connection, to: Specialist, alias: str, what: str, reason: str | None) -> Event:
    before = _aliases(connection, to.name).get(alias)
    if before is None:
        connection.execute(insert(aliases).values(name=to.name, alias=alias, number=to.number))
    else:
        where = (aliases.c.name == to.name, aliases.c.alias == alias)
        connection.execute(update(aliases).where(*where).values(number=to.number))
    return _note(connection, Event(_now(), to.name, what, to.number, alias, before, reason))


def _note(connection: Connection, event: Event) -> Event:
    values = {key: getattr(event, key) for key in Event.__dataclass_fields__}
    connection.execute(insert(events).values(values))
    return event


def _check_alias(alias: str) -> None:
    check_name("alias", alias)
    if alias == LATEST or alias.isdigit():
        raise RegistryError(
            f"alias {alias!r}: this already means something; choose a word such as production"
        )
