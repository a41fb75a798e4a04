"""All runs of a folder in one SQLite database, for listing, filtering and comparing.

The run folders are the truth and this is a copy: `sync` brings it up to date with the files, and makes it anew where it
was deleted or broken, or written in another form. A writer waits for no more than two seconds, for a run trains
meanwhile. Tables: runs (one line each), metrics (run, step, name, value), events (every line of metrics.jsonl). Knows
nothing of models or of how a run is trained.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from luthier.errors import RegistryError, RunError
from luthier.registry.db import open_database, transaction
from luthier.registry.runs import Run, is_run, list_runs

FILE_NAME = "runs.db"
_FORM = 1
_WAIT_SECONDS = 2
_META = MetaData()
RUNS = Table(
    "runs",
    _META,
    Column("name", String, primary_key=True),
    Column("kind", String),  # run, or smoke
    Column("status", String),
    Column("reason", String),
    Column("updated", String),
    Column("model", String),
    Column("method", String),
    Column("objective", String),
    Column("seed", Integer),
    Column("git_revision", String),
    Column("dataset", String),
    Column("steps", Integer),
    Column("last_loss", Float),
    Column("best_validation_loss", Float),
    Column("best_step", Integer),
    Column("tokens_per_second", Float),
    Column("peak_memory_bytes", Integer),
    Column("seconds", Float),
    Column("recipe", JSON),
    Column("environment", JSON),
    Column("signature", String),  # of the files that this line was read from
)
METRICS = Table(
    "metrics",
    _META,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Float),
)
EVENTS = Table(
    "events",
    _META,
    Column("run", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("event", String),
    Column("step", Integer),
    Column("data", JSON),
)
_STEP_METRICS = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "peak_memory_bytes")


class RunIndex:
    """The database of one folder of runs. Every method raises RunError where it cannot be read or written."""

    def __init__(self, runs_folder: Path) -> None:
        self.folder = Path(runs_folder)
        self.path = self.folder / FILE_NAME
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            if self._engine is None:
                self._engine = open_database(self.path, _META, _FORM, lock_seconds=_WAIT_SECONDS)
            with transaction(self._engine) as connection:
                yield connection
        except (RegistryError, SQLAlchemyError) as error:
            raise RunError(
                f"{self.path}: cannot be used: {error}. It is a copy of the run folders: delete it, and luthier runs "
                "makes it anew"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def put(self, run: Run) -> None:
        """Read one run's files in again, whole."""
        events = run.read_metrics()
        line = _line(run, events)
        with self._connection() as connection:
            for table, column in ((RUNS, RUNS.c.name), (METRICS, METRICS.c.run), (EVENTS, EVENTS.c.run)):
                connection.execute(delete(table).where(column == run.name))
            connection.execute(insert(RUNS), [line])
            _add(connection, run.name, events)

    def sync(self) -> None:
        """Bring every run up to date with its files, and forget those that are gone."""
        folders = {run.name: Run(run.folder) for run in list_runs(self.folder)}
        with self._connection() as connection:
            known = dict(connection.execute(select(RUNS.c.name, RUNS.c.signature)).all())
            for name in known.keys() - folders.keys():
                for table, column in (
                    (RUNS, RUNS.c.name),
                    (METRICS, METRICS.c.run),
                    (EVENTS, EVENTS.c.run),
                ):
                    connection.execute(delete(table).where(column == name))
        for name, run in folders.items():
            if known.get(name) != _signature(run):
                with contextlib.suppress(RunError):  # files that cannot be read: listed by their status alone
                    self.put(run)

    def runs(self) -> list[dict[str, Any]]:
        """Every run, by name."""
        with self._connection() as connection:
            rows = connection.execute(select(RUNS).order_by(RUNS.c.name)).mappings()
            return [dict(row) for row in rows]

    def metric(self, run_name: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of one metric of one run, in order."""
        asked = select(METRICS.c.step, METRICS.c.value)
        asked = asked.where(METRICS.c.run == run_name, METRICS.c.name == name).order_by(METRICS.c.step)
        with self._connection() as connection:
            return [(int(step), float(value)) for step, value in connection.execute(asked)]


def open_index(runs_folder: Path) -> RunIndex:
    """The database of a folder of runs, up to date. A broken one is moved aside and made anew from the files."""
    index = RunIndex(runs_folder)
    try:
        index.sync()
    except RunError:
        if not index.path.is_file() or _is_locked(index):
            raise
        index.close()
        index.path.replace(index.path.with_suffix(".db.broken"))
        for extra in ("-wal", "-shm"):
            index.path.with_name(index.path.name + extra).unlink(missing_ok=True)
        index.sync()
    return index


def _is_locked(index: RunIndex) -> bool:
    try:
        index.runs()
    except RunError as error:
        return "locked" in str(error)
    return False


def _add(connection: Any, run_name: str, events: Iterable[Mapping[str, Any]]) -> None:
    lines, metrics = [], {}
    for number, one in enumerate(events):
        step = one.get("step")
        lines.append(
            {"run": run_name, "number": number, "event": one.get("event"), "step": step, "data": dict(one)}
        )
        for name, value in _metrics_of(one):
            metrics[int(step or 0), name] = value
    if lines:
        connection.execute(insert(EVENTS), lines)
    if metrics:
        connection.execute(
            insert(METRICS),
            [{"run": run_name, "step": s, "name": n, "value": v} for (s, n), v in metrics.items()],
        )


def _metrics_of(one: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    found: dict[str, Any] = {}
    if one.get("event") == "step":
        found = {name: one.get(name) for name in _STEP_METRICS}
    elif one.get("event") == "evaluation":
        found = {"validation_loss": one.get("validation_loss")}
    for name, value in {**found, **(one.get("metrics") or {})}.items():
        if isinstance(value, int | float):
            yield name, float(value)


def run_line(run: Run) -> dict[str, Any]:
    """What the table of runs holds of a run, read from its files. Raises RunError."""
    return _line(run, run.read_metrics())


def _line(run: Run, events: list[dict[str, Any]]) -> dict[str, Any]:
    resolved, environment = _json(run.resolved_path) or {}, _json(run.environment_path) or {}
    recipe = resolved.get("values") or {}
    record = run.status_record()
    steps = [one for one in events if one.get("event") == "step"]
    losses = [
        (one["validation_loss"], one["step"])
        for one in events
        if one.get("event") == "evaluation" and one.get("validation_loss") is not None
    ]
    best = min(losses, default=(None, None))
    last = steps[-1] if steps else {}
    seconds = last.get("seconds")
    manifest = _json(run.data_path) or []
    datasets = dict.fromkeys(
        str(one.get("dataset") or one.get("dataset_id")) for one in manifest if one.get("dataset_id")
    )
    return {
        "name": run.name,
        "kind": "smoke" if (run.folder / "smoke.json").is_file() else "run",
        "status": record.status.value,
        "reason": record.reason,
        "updated": record.updated,
        "model": (recipe.get("model") or {}).get("name"),
        "method": (recipe.get("method") or {}).get("name"),
        "objective": (recipe.get("objective") or {}).get("name"),
        "seed": (recipe.get("train") or {}).get("seed"),
        "git_revision": (environment.get("git") or {}).get("revision"),
        "dataset": ", ".join(datasets) or None,
        "steps": last.get("step"),
        "last_loss": last.get("loss"),
        "best_validation_loss": best[0],
        "best_step": best[1],
        "tokens_per_second": last["tokens"] / seconds if seconds else None,
        "peak_memory_bytes": last.get("peak_memory_bytes"),
        "seconds": seconds,
        "recipe": recipe,
        "environment": environment,
        "signature": _signature(run),
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _signature(run: Run) -> str:
    """Changes whenever a file that the line is read from does."""
    files = (run.metrics_path, run.status_path, run.resolved_path, run.folder / "smoke.json")
    stats = [(path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else () for path in files]
    return json.dumps([*stats, run.status().value]) if is_run(run.folder) else ""
