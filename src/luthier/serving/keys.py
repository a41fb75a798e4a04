"""Who may ask: keys in a file, known by their hashes alone.

A key is `sk-luthier-ID-SECRET`; ID finds its line, SECRET is 256 random bits. The file holds a salted SHA-256 of the
secret. A slow hash (bcrypt, scrypt, Argon2) makes guessing expensive where people think of the secrets; among 2^256
equally likely ones nothing can be guessed at any speed, and a slow hash would cost each request its tenth of a second
and hand whoever sends wrong keys a way to keep the server busy. The salt keeps equal secrets of two files from looking
equal. Digests are compared in constant time, also where the ID is unknown.

The file is read again when it changes: a revoked key ends with the next request. Where it is gone, nobody is known;
where it cannot be read any more, the keys of its last good form stay, and the log says so. Knows nothing of HTTP.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from luthier.errors import ServingError
from luthier.files import atomic_path, locked
from luthier.registry.specialist import NAME
from luthier.serving.limits import Admission, Clock, Limits, Meter

FORMAT = 1
BASE = "base"  # how the base is named among the specialists that a key may ask
_PREFIX = "sk-luthier"
_LONGEST_TOKEN = 200
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """One who may ask. `digest` of the salted secret; `expires`: ISO 8601 with its offset, None never;
    `specialists`: the names that it may ask, `base` for the base, None all; `admin`: it may load and unload."""

    id: str
    name: str
    created: str
    salt: str
    digest: str
    expires: str | None = None
    limits: Limits = field(default_factory=Limits)
    specialists: tuple[str, ...] | None = None
    admin: bool = False

    def may_ask(self, specialist: str | None) -> bool:
        """Whether it may ask a specialist (`NAME` or `NAME@3`), or the base (None)."""
        name = BASE if specialist is None else specialist.partition("@")[0]
        return self.specialists is None or name in self.specialists

    def is_expired(self, now: datetime) -> bool:
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


class KeyRing:
    """The keys of a file, and what each has asked. Called from one event loop."""

    def __init__(self, path: Path, clock: Clock = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._meters: dict[str, Meter] = {}
        self._seen: tuple[int, int, int] | None = None

    @classmethod
    def load(cls, path: Path | str, clock: Clock = time.monotonic) -> Self:
        """Raises ServingError where the file is missing, no list of keys, or others may write it."""
        ring = cls(Path(path), clock)
        ring._seen = _mark(ring.path)
        ring._keys = {key.id: key for key in read_keys(ring.path)}
        return ring

    def authenticate(self, token: str | None) -> Key | None:
        """The key that a token is; None: nobody's, revoked or expired."""
        self._reread()
        id, secret = _parts(token)
        key = self._keys.get(id)
        salt, digest = (key.salt, key.digest) if key else (_NOBODY.salt, _NOBODY.digest)
        same = hmac.compare_digest(_digest(salt, secret), digest)
        return key if key and same and not key.is_expired(datetime.now(UTC)) else None

    def admit(self, key: Key, num_tokens: int) -> Admission:
        """Whether a request of at most so many tokens, prompt and answer, is within the key's limits.

        Each admitted request is released once.
        """
        meter = self._meters.get(key.id)
        if meter is None or meter.limits != key.limits:
            active = meter.active if meter else 0
            meter = self._meters[key.id] = Meter(key.limits, self._clock)
            meter.active = active
        return meter.admit(num_tokens)

    def release(self, key: Key, unused_tokens: int = 0) -> None:
        """An admitted request has ended, and needed so many tokens less than it was admitted for."""
        if key.id in self._meters:
            self._meters[key.id].release(unused_tokens)

    def _reread(self) -> None:
        mark = _mark(self.path)
        if mark == self._seen:
            return
        self._seen = mark
        if mark is None:
            _log.error("%s: the file of keys is gone: nobody is known until it is back", self.path)
            self._keys = {}
            return
        try:
            self._keys = {key.id: key for key in read_keys(self.path)}
        except ServingError as error:
            _log.error("%s: the keys of its last good form stay in use", error)


def new_key(
    path: Path,
    name: str,
    *,
    expires: datetime | None = None,
    limits: Limits | None = None,
    specialists: tuple[str, ...] | None = None,
    admin: bool = False,
) -> tuple[Key, str]:
    """Write a new key into the file; (the key, its token, which is nowhere kept).

    Raises ServingError where the name is taken or cannot be one, a limit is below 1, or `expires` is past.
    """
    _check(name, expires, limits or Limits(), specialists)
    id, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_hex(16)
    key = Key(
        id=id,
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        salt=salt,
        digest=_digest(salt, secret),
        expires=expires.astimezone(UTC).isoformat(timespec="seconds") if expires else None,
        limits=limits or Limits(),
        specialists=specialists,
        admin=admin,
    )
    with locked(_lock(path)):
        kept = read_keys(path) if path.exists() else []
        if any(one.name == name or one.id == id for one in kept):
            raise ServingError(
                f"{path}: a key is called {name!r} already; choose another name, or revoke that one"
            )
        _write(path, [*kept, key])
    return key, f"{_PREFIX}-{id}-{secret}"


def revoke_key(path: Path, name_or_id: str) -> Key:
    """Take a key out of the file. Raises ServingError that lists what there is."""
    with locked(_lock(path)):
        kept = read_keys(path)
        found = [key for key in kept if name_or_id in (key.name, key.id)]
        if not found:
            there = ", ".join(f"{key.name} ({key.id})" for key in kept) or "none"
            raise ServingError(f"{path}: no key is called {name_or_id!r}; there are: {there}")
        _write(path, [key for key in kept if key != found[0]])
    return found[0]


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. Raises ServingError where it is missing, no list of keys, or others may write it."""
    try:
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError(f"others may write it, and so make keys of their own: chmod 600 {path}")
        value = json.loads(path.read_bytes())
        if value["format"] != FORMAT:
            raise ValueError(f"it has form {value['format']!r}, this Luthier reads {FORMAT}")
        return [_key(one) for one in value["keys"]]
    except FileNotFoundError:
        raise ServingError(
            f"{path}: no file of keys; make one: luthier keys new NAME --file {path}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ServingError) as error:
        raise ServingError(f"{path}: cannot be used as the file of keys: {error!r:.300}") from error


def _key(value: Mapping[str, Any]) -> Key:
    unknown = set(value) - {one.name for one in fields(Key)}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    for name in ("id", "name", "created", "salt", "digest"):
        if not isinstance(value[name], str) or not value[name].isascii():
            raise ValueError(f"{name}: expected a plain text")
    if not isinstance(value.get("admin", False), bool):
        raise ValueError("admin: expected true or false")
    allowed = value.get("specialists")
    if allowed is not None and not (isinstance(allowed, list) and all(isinstance(n, str) for n in allowed)):
        raise ValueError("specialists: expected a list of names")
    key = Key(**{**value, "limits": Limits(**value.get("limits", {}))})
    _check(key.name, None, key.limits, None if allowed is None else tuple(allowed))
    if key.expires is not None and datetime.fromisoformat(key.expires).tzinfo is None:
        raise ValueError(f"expires {key.expires!r}: expected an offset, such as +00:00")
    return key if allowed is None else replace(key, specialists=tuple(allowed))


def _check(name: str, expires: datetime | None, limits: Limits, specialists: tuple[str, ...] | None) -> None:
    for what, one in (("key", name), *(("specialist", each) for each in specialists or ())):
        if not NAME.fullmatch(one):
            raise ServingError(f"{what} {one!r:.80}: expected a-z, 0-9, '.', '_', '-', at most 64")
    for what, value in asdict(limits).items():
        if value is not None and (type(value) is not int or value < 1):
            raise ServingError(f"{what}: expected a whole number of at least 1, got {value!r:.40}")
    if expires is not None and (expires.tzinfo is None or expires <= datetime.now(UTC)):
        raise ServingError(f"expires {expires.isoformat()}: expected a time to come, with its offset")


def _write(path: Path, keys: list[Key]) -> None:
    """Beside and renamed; nobody but the owner may ever read it."""
    text = json.dumps({"format": FORMAT, "keys": [asdict(key) for key in keys]}, indent=2) + "\n"
    with atomic_path(path) as beside, os.fdopen(os.open(beside, _NEW_FILE, 0o600), "w") as file:
        file.write(text)


def _parts(token: str | None) -> tuple[str, str]:
    """(ID, SECRET) of a token; what is no token is nobody's."""
    if token is None or len(token) > _LONGEST_TOKEN or not token.isascii():
        return "", ""
    prefix, _, rest = token.partition(f"{_PREFIX}-")
    id, dash, secret = rest.partition("-")
    return (id, secret) if not prefix and dash else ("", "")


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None: it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


# Compared with where the ID is unknown, so that this takes as long as a wrong secret.
_NOBODY = Key("", "", "", "00" * 16, _digest("00" * 16, secrets.token_urlsafe(32)))
