"""The thread that computes: it takes in what was asked, runs step after step, and hands pieces over.

Everything of llama.cpp that belongs to an engine happens in this one thread. Others leave it functions to call between
two steps. What it does at each step stands in `_step`, top to bottom. Knows nothing of event loops.
"""

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from luthier.errors import LuthierError, ModelError, ServingError
from luthier.serving.engines.engine import Piece, Unavailable
from luthier.serving.engines.llamacpp.context import SharedContext
from luthier.serving.engines.llamacpp.places import Places
from luthier.serving.engines.llamacpp.row import Row
from luthier.serving.engines.llamacpp.turns import Turns, step_of

_COUNTERS = (
    *("steps", "answers", "cancelled", "prompt_tokens", "prompt_tokens_cached", "generated_tokens"),
    "adapter_swaps",
)
Heard = list[tuple[Row, Piece | ServingError]]


class Worker:
    """Runs rows. `counters`, `num_active`, `broken` may be read from any thread.

    hand_over: gets what was said at a step, all together, in this thread.
    """

    def __init__(
        self,
        context: SharedContext,
        places: Places,
        *,
        max_batch: int,
        turn_steps: int,
        hand_over: Callable[[Heard], None],
    ) -> None:
        self.counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))
        self.seconds_per_answer = 1.0
        self.broken: Exception | None = None
        self._context, self._places, self._turns = context, places, Turns(turn_steps)
        self._max_batch, self._hand_over = max_batch, hand_over
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._rows: list[Row] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="luthier-llamacpp", daemon=True)
        self._thread.start()

    # From any thread

    @property
    def num_active(self) -> int:
        return len(self._rows)

    def call(self, command: Callable[[], None]) -> None:
        """Have `command`, which must not raise, called between two steps."""
        self._inbox.put(command)

    def submit(self, row: Row) -> None:
        self._inbox.put(lambda: self._waiting.append(row))

    def cancel(self, row: Row) -> None:
        """Its place is free before the next step."""
        self._inbox.put(lambda: self._drop(row))

    def close(self) -> None:
        """End what runs. Returns when the thread has ended."""
        self._inbox.put(None)
        self._thread.join()

    # In the thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._take_in(wait=not (self._rows or self._waiting))
                if not self._closing:
                    self._step()
        except Exception as error:  # a fault of ours or no memory: whoever waits has to know
            self.broken = error
        why = f"{type(self.broken).__name__}: {self.broken}" if self.broken else "it is being closed"
        while not self._closing:
            self._fail(
                [*self._rows, *self._waiting], Unavailable(f"the engine broke ({why}); restart the server")
            )
            self._take_in(wait=True)
        self._fail(
            [*self._rows, *self._waiting], Unavailable(f"the engine ended before the answer did: {why}")
        )

    def _take_in(self, *, wait: bool) -> None:
        """Call what was left here."""
        while True:
            try:
                command = self._inbox.get(block=wait)
            except queue.Empty:
                return
            if command is None:
                self._closing = True
            else:
                command()
            wait = False

    def _step(self) -> None:
        self._admit()
        if not self._rows:
            return
        adapter = self._turns.next({row.specialist.adapter for row in self._rows})
        step = step_of([row for row in self._rows if row.specialist.adapter == adapter], self._context.block)
        self._context.switch(adapter)
        try:
            logits_RV = self._context.compute([run for _, run in step])
        except ModelError as error:
            self._fail([row for row, _ in step], Unavailable(str(error)))
            return
        heard: Heard = []
        for row, run in step:
            row.num_computed += len(run.token_ids)
        for row, logits_V in zip((row for row, run in step if run.wanted), logits_RV, strict=True):
            try:
                heard.append((row, row.choose(logits_V)))
            except Exception as error:  # a mask is foreign code: its fault ends its own answer alone
                self._end(row, keep=False)
                heard.append((row, error if isinstance(error, ServingError) else _fault(error)))
        self._count(heard)
        self._hand_over(heard)
        for row, _ in step:
            if row.finish_reason is not None or (not row.num_new and not row.num_missing):
                self._end(row, keep=True)

    def _drop(self, row: Row) -> None:
        if row in self._rows:
            self._end(row, keep=True)
        elif row in self._waiting:
            self._waiting.remove(row)
        else:
            return  # it ended meanwhile
        self.counters["cancelled"] += 1

    def _admit(self) -> None:
        """First come, first served."""
        while self._waiting and len(self._rows) < self._max_batch:
            row = self._waiting.popleft()
            self._places.admit(row)
            self._rows.append(row)
            self.counters["prompt_tokens"] += len(row.ask.prompt_ids)
            row.num_cached = row.num_computed
            self.counters["prompt_tokens_cached"] += row.num_cached

    def _count(self, heard: Heard) -> None:
        self.counters["steps"] += 1
        self.counters["adapter_swaps"] = self._context.num_switches
        for row, piece in heard:
            self.counters["generated_tokens"] += isinstance(piece, Piece)
            if row.finish_reason is not None:
                self.counters["answers"] += 1
                self.seconds_per_answer += 0.1 * (time.monotonic() - row.asked_at - self.seconds_per_answer)

    def _end(self, row: Row, *, keep: bool) -> None:
        self._rows.remove(row)
        if keep:
            self._places.release(row, lasting=not row.num_new)
        else:
            self._places.abandon(row)

    def _fail(self, rows: list[Row], error: Unavailable) -> None:
        for row in rows:
            if row in self._waiting:
                self._waiting.remove(row)
            else:
                self._end(row, keep=False)
        self._hand_over([(row, error) for row in rows])


def _fault(error: Exception) -> ServingError:
    told = str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"
    return ServingError(f"the answer cannot go on: {told}")
