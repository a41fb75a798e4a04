"""A run is one folder: what was asked, with what, on what, what happened, and what came out.

    recipe.yaml        what the user asked for
    resolved.json      every value that was used and where it came from (where the trainer gives it)
    environment.json   the machine and the versions
    data.json          the data files: path, sha256, rows, and the dataset version where they are one
    metrics.jsonl      one event per line, the sample answers of each evaluation among them
    checkpoints/       rolling checkpoints
    model/             the adapter or the weights that came out
    report.html        all of it for a person
    status.json        the run's status word, since when, why, and which process holds it
    .lock              held by the process that trains it, for as long as that lives

This file knows nothing of models, of what an event holds beyond its `step`, or of how a run is trained.
"""

import contextlib
import difflib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from luthier.errors import RunError
from luthier.files import atomic_directory, write_json_atomic, write_text_atomic
from luthier.registry.environment import environment as environment
from luthier.registry.event_log import append_event, read_events, truncate_events_after
from luthier.registry.run_lock import Taken, is_locked, is_ours, lock_folder

_SAME_PROCESS_SECONDS = 2.0
"""A process that started this near to the recorded time is the recorded one, not a reused id."""


class RunStatus(StrEnum):
    """Where a run stands."""

    CREATED = "created"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """What status.json says, after a look at whether its process still lives."""

    status: RunStatus
    updated: str
    reason: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of a list of runs."""

    name: str
    folder: Path
    status: RunStatus
    updated: str
    reason: str | None
    datasets: tuple[str, ...] = ()
    """The dataset versions that it read, as `name@id`."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder that exists. Made by `create_run` or `open_run`."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def recipe_path(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def resolved_path(self) -> Path:
        return self.folder / "resolved.json"

    @property
    def environment_path(self) -> Path:
        return self.folder / "environment.json"

    @property
    def data_path(self) -> Path:
        return self.folder / "data.json"

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints_folder(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def report_path(self) -> Path:
        return self.folder / "report.html"

    @property
    def status_path(self) -> Path:
        return self.folder / "status.json"

    def status_record(self) -> StatusRecord:
        """The status with its reason. A run whose process is gone without a word is `interrupted`.

        Raises RunError where status.json cannot be read.
        """
        raw = _read_status(self.status_path)
        status = RunStatus(raw["status"])
        reason = raw.get("reason")
        if status is RunStatus.RUNNING and not _holder_lives(raw, self.folder):
            status = RunStatus.INTERRUPTED
            reason = f"its process ({raw.get('pid')}) ended without writing a status"
        return StatusRecord(status, str(raw.get("updated", "")), reason, raw.get("pid"))

    def status(self) -> RunStatus:
        """The status word; see `status_record`."""
        return self.status_record().status

    def set_status(self, status: RunStatus | str, reason: str | None = None) -> None:
        """Write the status word, held by this process.

        Raises RunError where another live process is running this run: two writers would mix their metrics.
        """
        word = RunStatus(status)
        if self.status_path.exists() and not is_ours(self.folder):
            raw = _read_status(self.status_path)
            if (
                raw["status"] == RunStatus.RUNNING
                and raw.get("pid") != os.getpid()
                and _holder_lives(raw, self.folder)
            ):
                raise RunError(
                    f"{self.folder}: process {raw.get('pid')} runs it since {raw.get('updated')}. "
                    "Wait until it ends or stop it (Ctrl-C writes a checkpoint), then try again."
                )
        try:
            write_json_atomic(self.status_path, _status_now(word, reason))
        except OSError as error:
            raise RunError(
                f"{self.status_path}: cannot write: {error.strerror}. Free space or make the folder writable, then "
                "continue with --resume."
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process can train this run. The lock dies with the process, however that dies.

        Raises RunError where another holds it, or where the folder cannot be written to.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock_folder(self.folder))
            except Taken as error:
                raise RunError(
                    f"{self.folder}: another process trains this run ({_holder(self.status_path)}). "
                    "Wait until it ends or stop it (Ctrl-C writes a checkpoint), then try again."
                ) from error
            except OSError as error:
                raise RunError(
                    f"{self.folder}: cannot write here: {error.strerror}. Make the folder writable, then try again."
                ) from error
            yield

    def append_metrics(self, event: Mapping[str, Any]) -> None:
        """Add one event to metrics.jsonl; see `event_log.append_event`."""
        append_event(self.metrics_path, event)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every event of metrics.jsonl; see `event_log.read_events`."""
        return read_events(self.metrics_path)

    def truncate_metrics_after(self, step: int) -> int:
        """Drop what was written after `step`, so that a resumed run writes each step once.

        Returns how many events were dropped.
        """
        return truncate_events_after(self.metrics_path, step)


def create_run(
    folder: Path,
    *,
    recipe_yaml: str,
    data_manifest: Sequence[Mapping[str, Any]],
    resolved: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Run:
    """Make a run folder, whole or not at all.

    `data_manifest` has one entry per data file: path, sha256, rows. `resolved` is
    `{"values": nested settings, "sources": {dotted name: where the value came from}}`.
    Raises RunError where the folder exists: a run is replaced only with `overwrite` and only while nobody
    runs it; a folder that is not a run is never replaced, unless it is empty.
    """
    folder = Path(folder)
    _refuse_taken(folder, overwrite)
    manifest = [dict(entry) for entry in data_manifest]
    try:
        with atomic_directory(folder) as new_folder:
            new = Run(new_folder)
            write_text_atomic(new.recipe_path, recipe_yaml)
            write_json_atomic(new.environment_path, environment())
            write_json_atomic(new.data_path, manifest)
            if resolved is not None:
                write_json_atomic(new.resolved_path, dict(resolved))
            new.checkpoints_folder.mkdir()
            write_json_atomic(new.status_path, _status_now(RunStatus.CREATED, None))
    except OSError as error:
        raise RunError(f"{folder}: cannot make the run folder: {error}.") from error
    return Run(folder)


def open_run(folder: Path) -> Run:
    """An existing run. Raises RunError where the folder is missing or is not a run."""
    folder = Path(folder)
    if is_run(folder):
        return Run(folder)
    if not folder.exists():
        names = [path.name for path in _entries(folder.parent) if is_run(path)]
        near = difflib.get_close_matches(folder.name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(str(folder.parent / name) for name in near)}?" if near else ""
        raise RunError(f"{folder}: expected a run folder; there is nothing of this name.{hint}")
    missing = [name for name in ("recipe.yaml", "status.json") if not (folder / name).is_file()]
    raise RunError(f"{folder}: expected a run folder; it has no {' and no '.join(missing)}.")


def is_run(folder: Path) -> bool:
    """Whether the folder is a run: it holds recipe.yaml and status.json."""
    return (folder / "recipe.yaml").is_file() and (folder / "status.json").is_file()


def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in a folder, by name. One whose status cannot be read is listed as failed."""
    summaries = []
    for path in _entries(Path(folder)):
        if not is_run(path) or path.name.startswith("."):
            continue
        record = _status_or_broken(Run(path))
        datasets = _datasets(Run(path))
        summaries.append(RunSummary(path.name, path, record.status, record.updated, record.reason, datasets))
    return summaries


def default_run_name(stem: str, runs_folder: Path) -> str:
    """The next free name for a stem: `rugby-001`, `rugby-002`, ...; one more than the highest taken."""
    slug = re.sub(r"[^\w.]+", "-", stem.lower()).strip("-._") or "run"
    pattern = re.compile(re.escape(slug) + r"-(\d+)")
    taken = [int(match[1]) for path in _entries(Path(runs_folder)) if (match := pattern.fullmatch(path.name))]
    return f"{slug}-{max(taken, default=0) + 1:03d}"


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _refuse_taken(folder: Path, overwrite: bool) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not is_run(folder):
        if folder.is_dir() and not folder.is_symlink() and not _entries(folder):
            return
        what = "is a file"
        if folder.is_dir():
            names = [path.name for path in _entries(folder)]
            shown = ", ".join([*names[:4], "..."] if len(names) > 4 else names)
            what = f"is a folder that is not a run (it holds {shown})"
        raise RunError(f"{folder}: {what}, so it is never overwritten. Choose another name with --name.")
    record = _status_or_broken(Run(folder))
    if record.status is RunStatus.RUNNING:
        raise RunError(
            f"{folder}: this run exists and process {record.pid} is running it. "
            "Choose another name with --name, or stop that process first."
        )
    if not overwrite:
        go_on = "" if record.status is RunStatus.FINISHED else f"Continue it with --resume {folder}, or "
        raise RunError(
            f"{folder}: this run exists already "
            f"(status: {record.status}, updated {record.updated or 'unknown'}). "
            f"{go_on}choose another name with --name, or replace it with --overwrite."
        )


def _status_now(status: RunStatus, reason: str | None) -> dict[str, Any]:
    return {
        "status": status.value,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "host": socket.gethostname(),
    }


def _read_status(path: Path) -> dict[str, Any]:
    words = ", ".join(RunStatus)
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected a JSON object; cannot read it: {error}.") from error
    if not isinstance(raw, dict) or raw.get("status") not in set(RunStatus):
        found = raw.get("status") if isinstance(raw, dict) else raw
        raise RunError(f"{path}: expected a status out of {words}; got {found!r}.")
    return raw


def _status_or_broken(run: Run) -> StatusRecord:
    try:
        return run.status_record()
    except RunError as error:
        return StatusRecord(RunStatus.FAILED, "", str(error), None)


def _datasets(run: Run) -> tuple[str, ...]:
    """The versions that data.json names; none where it cannot be read: a list of runs does not fail on one."""
    try:
        entries = json.loads(run.data_path.read_bytes())
    except (OSError, ValueError):
        return ()
    named = (
        [entry.get("dataset") for entry in entries if isinstance(entry, dict)]
        if isinstance(entries, list)
        else []
    )
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


def _holder(path: Path) -> str:
    with contextlib.suppress(RunError):
        raw = _read_status(path)
        return f"process {raw.get('pid')} on {raw.get('host')}, since {raw.get('updated')}"
    return "its status cannot be read"


def _holder_lives(raw: Mapping[str, Any], folder: Path) -> bool:
    """Whether the process that wrote the status lives. On another machine: taken as alive.

    The lock knows it for certain; where there is none, the process id and its start, which a set clock moves.
    """
    if raw.get("host") not in (None, socket.gethostname()):
        return True
    if (locked := is_locked(folder)) is not None:
        return locked
    pid = raw.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        process = psutil.Process(pid)
        started = raw.get("process_started", process.create_time())
        same = bool(abs(process.create_time() - float(started)) < _SAME_PROCESS_SECONDS)
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError):
        return False
