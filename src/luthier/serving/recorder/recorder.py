"""Keeps requests and answers in SQLite: a bounded queue, and one thread that redacts and writes in batches.

`record` puts into the queue and returns: it never waits for a disk. The thread begins a transaction as soon as
something waits and the last one is done; each ends on the disk (write-ahead log, full synchronisation). So a power cut
or a `kill -9` loses what came after the last transaction began: a fraction of a second.

Answers matter more than the record of them. Where the file is locked or the disk is full, the queue holds what waits
and it is tried again; where the queue is full, what comes is not recorded. That is counted (`lost`) and logged.
"""

import itertools
import logging
import threading
import time
from collections import Counter, deque
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from luthier.errors import RegistryError
from luthier.registry.db import reading, transaction
from luthier.serving.protocol import Feedback, Interaction
from luthier.serving.recorder import tables
from luthier.serving.recorder.feedback import check_feedback
from luthier.serving.recorder.rows import Redact, feedback_row, interaction_row, num_characters

_log = logging.getLogger(__name__)
_BATCH = 1000
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.1, 5.0
_SAY_AGAIN_SECONDS = 30.0


class SqliteRecorder:
    """A `protocol.Recorder`. `lost`: how many were not kept, by reason."""

    def __init__(
        self,
        path: Path | str,
        *,
        redact: Redact,
        max_waiting: int = 20_000,
        max_waiting_characters: int = 64_000_000,
        lock_seconds: float = 2.0,
    ) -> None:
        """`redact`: hides secrets and personal data in a text. Raises RegistryError or OSError where the file cannot be
        opened."""
        self.path = Path(path)
        self.lost: Counter[str] = Counter()
        self._engine = tables.open_record(self.path, lock_seconds=lock_seconds)
        self._redact = redact
        self._max_waiting, self._max_characters = max_waiting, max_waiting_characters
        self._waiting: deque[tuple[Interaction | Feedback, int]] = deque()  # each with its characters
        self._characters = 0
        self._unwritten: dict[str, Interaction] = {}  # feedback may name them before they are on the disk
        self._change = threading.Condition()
        self._closing_until: float | None = None
        self._said_at = -_SAY_AGAIN_SECONDS
        self._thread = threading.Thread(target=self._run, name="luthier-recorder", daemon=True)
        self._thread.start()

    # ---- called from the event loop

    @property
    def num_waiting(self) -> int:
        """How many are not on the disk yet."""
        return len(self._waiting)

    def record(self, interaction: Interaction) -> None:
        """Keep one; where the queue is full or the recorder closed, it is lost and counted."""
        with self._change:
            if self._put(interaction, num_characters(interaction)):
                self._unwritten[interaction.id] = interaction

    def feedback(self, feedback: Feedback) -> bool:
        """Keep what a person said; False where no such interaction is known.

        Looks into the database: about a millisecond. Raises ServingError where it says nothing that can be kept,
        RegistryError where the database cannot be read.
        """
        check_feedback(feedback)
        with self._change:
            known = feedback.interaction_id in self._unwritten
        if not known and self._written_row(feedback.interaction_id) is None:
            return False
        with self._change:
            self._put(feedback, len(feedback.correction or "") + len(feedback.comment or ""))
        return True

    def specialist_of(self, interaction_id: str) -> str | None:
        """Who answered, for counting a thumb; None where the base did, nobody saw it, or it is not known.

        Looks into the database. Raises RegistryError where that cannot be read.
        """
        with self._change:
            waiting = self._unwritten.get(interaction_id)
        if waiting is not None:
            return waiting.specialist if waiting.shadow_of is None else None
        found = self._written_row(interaction_id)
        specialist, shadow_of = found or (None, None)
        return specialist if shadow_of is None else None

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until what was recorded so far is on the disk; False where that takes longer."""
        with self._change:
            return self._change.wait_for(lambda: not self._waiting, timeout_seconds)

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Write what waits; what cannot be written within the time is lost and counted."""
        with self._change:
            if self._closing_until is None:
                self._closing_until = time.monotonic() + timeout_seconds
            self._change.notify_all()
        self._thread.join()
        self._engine.dispose()

    def _put(self, one: Interaction | Feedback, size: int) -> bool:
        if self._closing_until is not None:
            self._lose("closed", 1, "the recorder is closed")
            return False
        if len(self._waiting) >= self._max_waiting or self._characters + size > self._max_characters:
            self._lose("queue full", 1, f"{len(self._waiting)} wait to be written")
            return False
        self._waiting.append((one, size))
        self._characters += size
        self._change.notify_all()
        return True

    def _written_row(self, id: str) -> tuple[str | None, str | None] | None:
        """(who answered, the interaction that it shadows); None where it was not written."""
        if not id.isprintable():  # no id of ours, and perhaps nothing that a database can look up
            return None
        column = tables.interactions.c
        with reading(self._engine) as connection:
            row = connection.execute(
                select(column.specialist, column.shadow_of).where(column.id == id)
            ).first()
        return (row.specialist, row.shadow_of) if row is not None else None

    # ---- the thread

    def _run(self) -> None:
        retry_seconds = _FIRST_RETRY_SECONDS
        while batch := self._next_batch():
            try:
                lost = self._write([one for one, _ in batch])
            except (RegistryError, OSError) as error:
                if not self._waits_to_retry(retry_seconds, error):
                    return
                retry_seconds = min(2 * retry_seconds, _LAST_RETRY_SECONDS)
            else:
                self._written(batch, lost)
                retry_seconds = _FIRST_RETRY_SECONDS

    def _next_batch(self) -> list[tuple[Interaction | Feedback, int]]:
        """What waits, still in the queue; empty: nothing does and nothing will."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closing_until is not None)
            return list(itertools.islice(self._waiting, _BATCH))

    def _write(self, batch: list[Interaction | Feedback]) -> Counter[str]:
        """All of it in one transaction; what was left out, by reason. What cannot be redacted is never written."""
        asked, said, lost = [], [], Counter[str]()
        for one in batch:
            try:
                if isinstance(one, Interaction):
                    asked.append(interaction_row(one, self._redact))
                else:
                    said.append(feedback_row(one, self._redact))
            except Exception as error:  # one that breaks must not stop the ones behind it
                lost[f"unwritable: {type(error).__name__}"] += 1
        with transaction(self._engine) as connection:
            if asked:
                done = connection.execute(insert(tables.interactions).on_conflict_do_nothing(), asked)
                lost["id recorded before"] += len(asked) - done.rowcount
            if said:
                connection.execute(insert(tables.feedback), said)
        return +lost

    def _written(self, batch: list[tuple[Interaction | Feedback, int]], lost: Counter[str]) -> None:
        with self._change:
            for one, size in batch:
                self._waiting.popleft()
                self._characters -= size
                if isinstance(one, Interaction):
                    self._unwritten.pop(one.id, None)
            for reason, count in lost.items():
                self._lose(reason, count, "left out of a batch")
            self._change.notify_all()

    def _waits_to_retry(self, seconds: float, error: Exception) -> bool:
        """False: the time to close is over, and what waits is lost."""
        with self._change:
            self._say(f"cannot write, {len(self._waiting)} records wait: {error}")
            until = self._closing_until
            left = seconds if until is None else until - time.monotonic()
            if left <= 0:
                self._lose("not written at the end", len(self._waiting), str(error))
                self._waiting.clear()
                return False
            self._change.wait_for(lambda: self._closing_until != until, min(seconds, left))
            return True

    def _lose(self, reason: str, count: int, why: str) -> None:
        self.lost[reason] += count
        self._say(f"{self.lost.total()} records lost so far ({reason}: {why})")

    def _say(self, text: str) -> None:
        """Not for each record: a log must not fill the disk that is full already."""
        if time.monotonic() - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = time.monotonic()
            _log.error("%s: %s", self.path, text)
