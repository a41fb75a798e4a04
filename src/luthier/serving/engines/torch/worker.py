"""The thread that computes: it takes in what was asked, runs step after step, and hands pieces to the event loop.

Everything of torch that belongs to an engine happens in this one thread. Others leave it functions to call between two
steps. What it does at each step stands in `_step`, top to bottom. This file knows nothing of layers or adapters' files.
"""

import asyncio
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from luthier.errors import ServingError
from luthier.serving.engines.engine import Ask, Piece, TokenLogprob, Unavailable
from luthier.serving.engines.torch.row import Row, Specialist, new_row
from luthier.serving.engines.torch.sampling import choose, logprobs

Command = Callable[[], None]


_COUNTERS = (
    "steps",
    "answers",
    "cancelled",
    "prompt_tokens",
    "prompt_tokens_cached",
    "generated_tokens",
    "adapter_swaps",
)


@dataclass(eq=False)
class Ticket:
    """The way of one answer's pieces from the computing thread to its reader.

    cancelled: set by the reader; the thread looks at it before each step.
    """

    ask: Ask
    specialist: Specialist
    loop: asyncio.AbstractEventLoop
    pieces: "asyncio.Queue[Piece | Exception]" = field(default_factory=asyncio.Queue)
    asked_at: float = field(default_factory=time.monotonic)
    cancelled: bool = False


class Computation(Protocol):
    """What turns rows into logits (see batched, one_by_one)."""

    num_swaps: int

    def bytes_of(self, row: Row) -> int: ...

    def admit(self, row: Row) -> None: ...

    def remove(self, row: Row) -> None: ...

    def step(self) -> tuple[list[Row], Tensor]: ...


class Worker:
    """Runs answers. `counters`, `num_waiting` and `num_active` may be read from any thread."""

    def __init__(
        self, computation: Computation, context_length: int, max_batch: int, kv_bytes: int, num_threads: int
    ) -> None:
        self.computation, self.context_length = computation, context_length
        self.max_batch, self.kv_bytes, self._num_threads = max_batch, kv_bytes, num_threads
        self.counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))
        self.broken: Exception | None = None
        self.seconds_per_answer = 1.0
        self._inbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._waiting: deque[Ticket] = deque()
        self._rows: dict[Row, Ticket] = {}
        self._reserved_bytes = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="luthier-engine", daemon=True)
        self._thread.start()

    # From any thread

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        return len(self._rows)

    def call(self, command: Command) -> None:
        """Have `command` called between two steps."""
        self._inbox.put(command)

    def submit(self, ticket: Ticket) -> None:
        self._inbox.put(lambda: self._waiting.append(ticket))

    def close(self) -> None:
        """End what runs. Returns when the thread has ended."""
        self._inbox.put(None)
        self._thread.join()

    # In the thread

    @torch.inference_mode()
    def _run(self) -> None:
        torch.set_num_threads(self._num_threads)  # of products that this thread asks for
        try:
            while not self._closing:
                self._take_in()
                if not self._closing and self._busy:
                    self._step()
        except Exception as error:  # a fault of ours or no memory: every reader has to know
            self.broken = error
        reason = f"{type(self.broken).__name__}: {self.broken}" if self.broken else "it is being closed"
        self._fail_all(Unavailable(f"the engine ended before the answer did: {reason}"))
        while self.broken and not self._closing:
            self._take_in()
            self._fail_all(Unavailable(f"the engine is broken: {reason}; restart the server"))
        self._call_what_is_left()

    @property
    def _busy(self) -> bool:
        return bool(self._rows or self._waiting)

    def _take_in(self) -> None:
        """Call what was left here; where there is nothing to compute, wait for something."""
        wait = self.broken is not None or not self._busy
        while True:
            try:
                command = self._inbox.get(block=wait)
            except queue.Empty:
                return
            if command is None:
                self._closing = True
                return
            command()
            wait = False

    def _call_what_is_left(self) -> None:
        """Somebody waits for each of them."""
        while not self._inbox.empty():
            command = self._inbox.get()
            if command is not None:
                command()
        self._fail_all(Unavailable("the engine is closed"))

    def _step(self) -> None:
        self._drop_cancelled()
        self._admit()
        if not self._rows:
            return
        rows, logits_RV = self.computation.step()
        failed: dict[Row, Exception] = {}
        for row in rows:
            if row.chooser.mask is not None:
                _unless_it_fails(row, row.chooser.look_ahead, failed)
        choosers = [row.chooser for row in rows]
        tokens = choose(logits_RV, choosers)
        notes = logprobs(logits_RV, tokens, choosers)
        for row, token in zip(rows, tokens, strict=True):
            if row.num_generated == 0:
                self._count_prompt(row)
            if row not in failed:
                _unless_it_fails(row, partial(row.accept, token), failed)
        self.counters["generated_tokens"] += len(rows)
        self.counters["steps"] += 1
        self.counters["adapter_swaps"] = self.computation.num_swaps
        pieces: list[tuple[Ticket, Piece | Exception]] = [
            (
                self._rows[row],
                failed.get(row) or _piece(row, token, note),
            )
            for row, token, note in zip(rows, tokens, notes, strict=True)
        ]
        for row in rows:  # before its reader hears of it, who may look at what is free
            if row.finish_reason is not None or row in failed:
                self._end(row)
        self._hand_over(pieces)

    def _count_prompt(self, row: Row) -> None:
        self.counters["prompt_tokens"] += len(row.ask.prompt_ids)
        self.counters["prompt_tokens_cached"] += row.num_cached

    def _drop_cancelled(self) -> None:
        for ticket in [one for one in self._waiting if one.cancelled]:
            self._waiting.remove(ticket)
            self.counters["cancelled"] += 1
        for row in [row for row, ticket in self._rows.items() if ticket.cancelled]:
            self.counters["cancelled"] += 1
            self._end(row)

    def _admit(self) -> None:
        """First come, first served. A row is let in where it will have room up to its end."""
        while self._waiting and len(self._rows) < self.max_batch:
            ticket = self._waiting[0]
            row = new_row(ticket.ask, ticket.specialist, self.context_length)
            num_bytes = self.computation.bytes_of(row)
            if self._rows and self._reserved_bytes + num_bytes > self.kv_bytes:
                return
            self._waiting.popleft()
            self._reserved_bytes += num_bytes
            self._rows[row] = ticket
            self.computation.admit(row)

    def _end(self, row: Row) -> None:
        ticket = self._rows.pop(row)
        self._reserved_bytes -= self.computation.bytes_of(row)
        self.computation.remove(row)
        if row.finish_reason is not None:
            self.counters["answers"] += 1
            taken = time.monotonic() - ticket.asked_at
            self.seconds_per_answer += 0.1 * (taken - self.seconds_per_answer)

    def _fail_all(self, error: Exception) -> None:
        tickets = [*self._rows.values(), *self._waiting]
        self._rows.clear()
        self._waiting.clear()
        self._hand_over([(ticket, error) for ticket in tickets])

    def _hand_over(self, pieces: Sequence[tuple[Ticket, Piece | Exception]]) -> None:
        loops = {id(ticket.loop): ticket.loop for ticket, _ in pieces}
        for key, loop in loops.items():
            mine = [(ticket, piece) for ticket, piece in pieces if id(ticket.loop) == key]
            if not loop.is_closed():  # its readers are gone with it
                loop.call_soon_threadsafe(_deliver, mine)


def _unless_it_fails(row: Row, work: Callable[[], None], failed: dict[Row, Exception]) -> None:
    """A mask is made from what somebody asked for: its fault ends that answer and no other."""
    try:
        work()
    except ServingError as error:
        failed[row] = error
    except Exception as error:
        failed[row] = ServingError(f"the mask of this answer failed: {type(error).__name__}: {error}")


def _piece(row: Row, token: int, note: TokenLogprob | None) -> Piece:
    notes = (note,) if note else ()
    return Piece((token,), notes, finish_reason=row.finish_reason, num_prompt_cached=row.num_cached)


def _deliver(pieces: Sequence[tuple[Ticket, Piece | Exception]]) -> None:
    for ticket, piece in pieces:
        ticket.pieces.put_nowait(piece)
