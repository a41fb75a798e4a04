"""Content identities: the same bytes give the same id on any machine.

An id is tagged with its algorithm (`sha256:...`), so that another one can follow.
JSON is hashed in one canonical form: UTF-8, keys sorted, no spaces, no NaN.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

SHORT_ID_DIGITS = 12
_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value. Raises ValueError on NaN and infinity, TypeError on other types."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", errors="surrogatepass")


def hash_bytes(data: bytes) -> str:
    """`sha256:` and the hex digest of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hash_text(text: str) -> str:
    """The id of a text, as UTF-8."""
    return hash_bytes(text.encode("utf-8", errors="surrogatepass"))


def hash_json(value: Any) -> str:
    """The id of a JSON value in its canonical form."""
    return hash_bytes(canonical_json(value))


def hash_file(path: Path) -> str:
    """The id of a file's bytes, read in pieces of 1 MiB. Raises OSError as `open` does."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def short_id(id: str) -> str:
    """The digits that a person reads and that folders are named by."""
    return id.removeprefix("sha256:")[:SHORT_ID_DIGITS]
