"""Create a model on an Ollama server through its REST API: blobs by their hash, then /api/create with `files`.

Protocol: https://github.com/ollama/ollama/blob/main/docs/api.md (create a model, check if a blob exists, push a blob).
Files are streamed, never in memory as a whole. Knows nothing of how a folder is made.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.errors import ConfigError, ExportError
from luthier.export.ollama.folder import REQUEST
from luthier.hashing import hash_file

Say = Callable[[str], None]


def push(folder: Path, model: str, url: str = "http://localhost:11434", say: Say = lambda _: None) -> None:
    """Create `model` from a folder that `write_ollama` wrote.

    Raises ConfigError for another folder or address, ExportError where the server is absent, refuses or fails.
    """
    if not (folder / REQUEST).is_file():
        raise ConfigError(
            f"{folder}: expected a folder that luthier export --to ollama wrote; there is no {REQUEST}"
        )
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    digests = {name: hash_file(folder / name) for name in request["files"]}
    for name, digest in digests.items():
        if _exists(url, digest):
            say(f"{name}: there already")
        else:
            say(f"{name}: sending {(folder / name).stat().st_size / 1e6:,.1f} MB")
            _send(url, digest, folder / name)
    _create(url, {**request, "model": model, "files": digests, "stream": True}, say)


@contextmanager
def _connected(url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A connection, and the path before /api."""
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ConfigError(
            f"--url {url}: expected the address of an Ollama server, such as http://localhost:11434"
        )
    connection = kinds[parts.scheme](
        parts.hostname, parts.port or (443 if parts.scheme == "https" else 11434), timeout=600
    )
    try:
        yield connection, parts.path.rstrip("/")
    except OSError as error:
        raise ExportError(f"{url}: cannot reach the server: {error}; is Ollama running there?") from error
    finally:
        connection.close()


def _exists(url: str, digest: str) -> bool:
    with _connected(url) as (connection, path):
        connection.request("HEAD", f"{path}/api/blobs/{digest}")
        answer = connection.getresponse()
        answer.read()
    if answer.status not in (200, 404):
        raise ExportError(f"{url}: asked for a blob, the server answered {answer.status} {answer.reason}")
    return answer.status == 200


def _send(url: str, digest: str, file: Path) -> None:
    with _connected(url) as (connection, path), file.open("rb") as body:
        length = {"Content-Length": str(file.stat().st_size), "Content-Type": "application/octet-stream"}
        connection.request("POST", f"{path}/api/blobs/{digest}", body=body, headers=length)
        answer = connection.getresponse()
        said = answer.read(2000).decode("utf-8", "replace")
    if answer.status not in (200, 201):
        raise ExportError(
            f"{url}: {file.name} was refused: {answer.status} {_error_of(said) or answer.reason}"
        )


def _create(url: str, request: dict[str, Any], say: Say) -> None:
    with _connected(url) as (connection, path):
        body = json.dumps(request, ensure_ascii=False).encode("utf-8")
        connection.request(
            "POST", f"{path}/api/create", body=body, headers={"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        if answer.status != 200:
            said = answer.read(2000).decode("utf-8", "replace")
            raise ExportError(
                f"{url}: the model was refused: {answer.status} {_error_of(said) or answer.reason}"
            )
        last = ""
        for line in answer:
            if not line.strip():
                continue
            if (error := _error_of(line.decode("utf-8", "replace"))) is not None:
                raise ExportError(f"{url}: creating {request['model']} failed: {error}")
            last = str(json.loads(line).get("status", ""))
            say(last)
    if last != "success":
        raise ExportError(
            f"{url}: the server ended with {last!r} and not with success: the model may not be there"
        )


def _error_of(said: str) -> str | None:
    """The `error` of an answer; the text itself where it is no JSON."""
    try:
        value = json.loads(said)
    except ValueError:
        return said.strip()[:300] or None
    error = value.get("error") if isinstance(value, dict) else None
    return None if error is None else str(error)
