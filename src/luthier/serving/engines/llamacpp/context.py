"""One llama.cpp context in which many sequences grow: what is computed, kept, shared and forgotten, by sequence id.

One adapter lies over the weights at a time; keys and values stay when it changes, so a sequence goes on where it
stood when its adapter's turn comes again. Knows nothing of answers, queues or whose turn it is.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ModelError
from luthier.models.gguf import GgufContext


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens of one sequence that stand one behind the other. wanted: whether the last one's logits are wanted."""

    sequence: int
    start: int
    token_ids: Sequence[int]
    wanted: bool


class SharedContext(GgufContext):
    """A context in which sequences of one adapter are computed together, each with keys and values of its own.

    llama.cpp takes sequences whose ids are neighbours in one pass through the weights, others in one pass for each such
    stretch: who hands ids out should keep those of one adapter together.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        context_length: int,
        num_sequences: int,
        block: int,
        num_threads: int | None,
    ) -> None:
        super().__init__(
            path,
            context_length=context_length,
            num_sequences=num_sequences,
            block=block,
            num_threads=num_threads,
        )
        self.block = self._block
        self.num_sequences = num_sequences
        self._adapters: dict[int, Any] = {}
        self._current = 0
        self.num_switches = 0
        self._batch = _Batch(self._lib, self._block)
        self.forgets_partly = not (
            self._lib.llama_model_is_recurrent(self._model) or self._lib.llama_model_is_hybrid(self._model)
        )
        """Whether the first part of a sequence can be kept or shared: a recurrent state stands for all of it."""

    def read_adapter(self, path: Path) -> int:
        """llama.cpp's address of a LoRA as GGUF, by which it is laid over the weights."""
        adapter = self.load_adapter(path)
        address = int(ctypes.cast(adapter, ctypes.c_void_p).value or 0)
        self._adapters[address] = adapter
        return address

    def drop_adapter(self, address: int) -> None:
        """Give its memory back; it is not laid over the weights any more."""
        self.switch(0)
        self._lib.llama_adapter_lora_free(self._adapters.pop(address))

    def switch(self, address: int) -> None:
        """Lay an adapter over the weights where another one lies; 0: none."""
        if address != self._current:
            self.use_adapter(self._adapters.get(address))
            self._current = address
            self.num_switches += 1

    def compute(self, runs: Sequence[Run]) -> NDArray[np.float32]:
        """Logits of the wanted ends, in order, shape (wanted, vocabulary): a view until the next call.

        Runs come in the order of their sequences. Raises ModelError where llama.cpp cannot compute it.
        """
        rows = self._batch.fill(runs)
        code = self._lib.llama_decode(self._context, self._batch.struct)
        if code != 0:
            raise ModelError(
                f"{self.path}: llama.cpp cannot compute {sum(len(r.token_ids) for r in runs)} tokens of "
                f"{len(runs)} sequences (code {code})"
            )
        if not rows:
            return np.empty((0, self.num_tokens), dtype=np.float32)
        logits = self._lib.llama_get_logits(self._context)
        found: NDArray[np.float32] = np.ctypeslib.as_array(logits, shape=(rows, self.num_tokens))
        return found

    def share(self, source: int, target: int, num_tokens: int) -> None:
        """Let the empty sequence `target` begin as `source` does: the keys and values of all of it are copied."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.cut(target, num_tokens)

    def cut(self, sequence: int, num_tokens: int) -> None:
        """Forget what follows the first tokens of a sequence."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, num_tokens, -1)

    def forget(self, sequence: int) -> None:
        """Empty a sequence."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)


class _Batch:
    """llama.cpp's batch over numpy's memory, filled without a call for each token."""

    def __init__(self, lib: Any, block: int) -> None:
        self._tokens = np.zeros(block, dtype=np.int32)
        self._positions = np.zeros(block, dtype=np.int32)
        self._counts = np.ones(block, dtype=np.int32)
        self._sequences = np.zeros(block, dtype=np.int32)
        self._places = self._sequences.ctypes.data + 4 * np.arange(block, dtype=np.uint64)
        self._wanted = np.zeros(block, dtype=np.int8)
        self.struct = lib.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=ctypes.cast(self._places.ctypes.data, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    def fill(self, runs: Sequence[Run]) -> int:
        """Write the runs; gives how many logits are wanted."""
        end = 0
        self._wanted[:] = 0
        for run in runs:
            begin, end = end, end + len(run.token_ids)
            self._tokens[begin:end] = run.token_ids
            self._positions[begin:end] = range(run.start, run.start + end - begin)
            self._sequences[begin:end] = run.sequence
            self._wanted[end - 1] = run.wanted
        self.struct.n_tokens = end
        return int(self._wanted.sum())


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
