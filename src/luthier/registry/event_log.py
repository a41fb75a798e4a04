"""A file of JSON lines that survives a crash: one event per line, each written whole or seen as torn.

This file knows nothing of runs, nor of what an event holds beyond its `step`.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from luthier.errors import RunError
from luthier.files import write_bytes_atomic


def append_event(path: Path, event: Mapping[str, Any]) -> None:
    """Add one event as one line, flushed. A number that is not finite is written as null.

    A line that a crash left torn at the end is removed first. Raises RunError where the disk refuses.
    """
    append_events(path, [event])


def append_events(path: Path, events: Iterable[Mapping[str, Any]]) -> None:
    """`append_event` for several, written at once."""
    lines = b"".join(_line(_finite(event)) for event in events)
    try:
        with path.open("ab+") as file:
            _mend_tail(file)
            file.write(lines)
            file.flush()
    except OSError as error:
        raise RunError(
            f"{path}: cannot write: {error}. "
            "Free space or make the folder writable, then continue with --resume."
        ) from error


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every event, in the order written; empty where the file is missing.

    A last line without its newline that is not JSON was torn by a crash and is left out.
    Raises RunError, naming the line, where any other line is not a JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}: expected one JSON object, got {line[:60]!r}"
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise RunError(f"{where} ({error}). Remove or mend the line.") from error
        if not isinstance(value, dict):
            raise RunError(f"{where}. Remove or mend the line.")
        events.append(value)
    return events


def truncate_events_after(path: Path, step: int) -> int:
    """Cut the file at the first event whose `step` is greater. Returns how many events were dropped."""
    events = read_events(path)
    cut = next((index for index, event in enumerate(events) if event.get("step", 0) > step), len(events))
    if path.exists():
        write_bytes_atomic(path, b"".join(_line(event) for event in events[:cut]))
    return len(events) - cut


def _line(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"


def _finite(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinity become null, tuples lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _mend_tail(file: IO[bytes]) -> None:
    """Leave the file at the end of a whole line: close a last line that is JSON, cut one that is torn."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    content = file.read()
    start = content.rfind(b"\n") + 1
    try:
        json.loads(content[start:])
        file.write(b"\n")
    except ValueError:
        file.truncate(start)
