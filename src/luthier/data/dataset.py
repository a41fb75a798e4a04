"""Rows of tokens, held flat: one array of ids, one of weights, one of offsets.

Two ways in. `chat_dataset` renders conversations through the one token path; `text_dataset` cuts plain
documents into pieces for continued pretraining. Over-long rows are never cut without a word: the policy is
the caller's and the counts come back in the dataset. This file knows nothing of torch, models or batches.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.chat.messages import Conversation
from luthier.chat.render import Renderer, Rendering
from luthier.data.rows import Row
from luthier.data.soft_labels import SoftLabels
from luthier.data.truncate import TooLong, shorten_row
from luthier.data.units import Members, Units
from luthier.errors import DataError, LuthierError

_ENCODE_AT_ONCE = 512  # documents handed to the tokenizer in one call: bounds the memory of tokenising


@dataclass(frozen=True)
class TokenDataset:
    """`num_rows` rows of tokens; row i is `token_ids[offsets[i]:offsets[i + 1]]`, weights likewise.

    `places[i]` is the `file:line` that row i came from. A weight w at position t says how much the
    prediction of token t counts; the first token of a row is never predicted.

    Of the rows that were too long: `num_dropped` were left out, `num_truncated` were cut, of which `num_answers_cut`
    lost tokens to learn, and `num_slid` became `num_windows` rows. `num_documents` rows are pieces of documents that
    stand among chat rows.

    `units` says which rows belong together, where a step counts pairs or labelled answers (`luthier.data.preferences`);
    None where each row stands for itself. `beside` has one unit for each unit of this dataset: rows that are measured
    before a step, and not learnt from. `soft`: what a teacher says at each supervised token, where one was asked.
    """

    token_ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]
    places: Sequence[str]
    num_dropped: int = 0
    num_truncated: int = 0
    num_answers_cut: int = 0
    num_slid: int = 0
    num_windows: int = 0
    num_documents: int = 0
    units: Units | None = None
    beside: "TokenDataset | None" = None
    soft: SoftLabels | None = None

    @property
    def num_units(self) -> int:
        """What an optimizer step counts: rows, or the units that they make."""
        return self.num_rows if self.units is None else self.units.num_units

    def rows_of_units(self, units: Sequence[int]) -> list[int]:
        """The rows of some units, in their order."""
        return list(units) if self.units is None else self.units.rows(units)

    def units_of_rows(self, rows: Sequence[int]) -> list[int]:
        """The unit of each row."""
        return list(rows) if self.units is None else [int(unit) for unit in self.units.of_rows(rows)]

    def members(self, rows: Sequence[int]) -> Members | None:
        """The rows as units; None where each row stands for itself."""
        return None if self.units is None else self.units.members(rows)

    @property
    def num_rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_supervised(self) -> int:
        """How many tokens carry a weight other than zero."""
        return int(np.count_nonzero(self.weights))

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Token ids and weights of row `index`, as views, each of shape (length,)."""
        span = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.token_ids[span], self.weights[span]

    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, shape (num_rows,)."""
        return np.diff(self.offsets)

    @property
    def too_long(self) -> dict[str, int]:
        """What became of the rows that were too long, under stable names."""
        return {
            "dropped": self.num_dropped,
            "truncated": self.num_truncated,
            "answers_cut": self.num_answers_cut,
            "slid": self.num_slid,
            "windows": self.num_windows,
        }


class RowBuilder:
    """Collects rows into flat arrays."""

    def __init__(self) -> None:
        self.ids: list[NDArray[np.int32]] = []
        self.weights: list[NDArray[np.float32]] = []
        self.places: list[str] = []
        self.num_dropped = 0
        self.num_truncated = 0
        self.num_answers_cut = 0
        self.num_slid = 0
        self.num_windows = 0

    def add(
        self, token_ids: Sequence[int], weights: "Sequence[float] | NDArray[np.float32]", place: str
    ) -> None:
        self.ids.append(np.asarray(token_ids, dtype=np.int32))
        row_weights = np.array(weights, dtype=np.float32)
        row_weights[0] = 0.0  # nothing stands before the first token, so nothing predicts it
        self.weights.append(row_weights)
        self.places.append(place)

    def build(self) -> TokenDataset:
        if not self.ids:
            raise DataError("no row is left to train on: every row was empty, or longer than max_length")
        offsets = np.zeros(len(self.ids) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in self.ids], out=offsets[1:])
        return TokenDataset(
            np.concatenate(self.ids),
            np.concatenate(self.weights),
            offsets,
            self.places,
            self.num_dropped,
            self.num_truncated,
            self.num_answers_cut,
            self.num_slid,
            self.num_windows,
        )


def chat_dataset(
    conversations: Iterable[tuple[str, Conversation]],
    renderer: Renderer,
    *,
    max_length: int,
    too_long: TooLong = "error",
    overlap: int = 0,
) -> TokenDataset:
    """Render `(place, conversation)` pairs into rows of at most `max_length` tokens.

    `too_long` says what happens to a longer row: `error` names it, the others are the policies of
    `luthier.data.truncate`; `overlap` is for `sliding`. A row, or a window, in which nothing is left to learn is left
    out. Raises DataError or TemplateError with the place of the row; a row that supervises nothing is an error.
    """
    rows = RowBuilder()
    for place, conversation in conversations:
        _refuse_empty_answer(place, conversation)
        try:
            renderings = renderer.render(conversation)
        except LuthierError as error:
            raise type(error)(f"{place}: {error}") from error
        for rendering in renderings:
            if rendering.num_supervised == 0:
                raise DataError(
                    f"{place}: nothing to learn: no token of this row is supervised (all weights are 0)"
                )
            if len(rendering.token_ids) <= max_length:
                rows.add(rendering.token_ids, rendering.weights, place)
            else:
                _add_shortened(
                    rows, rendering, place, max_length, too_long, overlap, renderer.tokenizer.bos_token_id
                )
    return rows.build()


def _refuse_empty_answer(place: str, conversation: Conversation) -> None:
    for number, message in enumerate(conversation.messages, start=1):
        empty = not (message.content.strip() or message.reasoning or message.tool_calls)
        if message.token_weight > 0 and empty:
            raise DataError(
                f"{place}: message {number}: the answer is empty; a model that learns it learns to say nothing. "
                "Fill it in, remove the row, or give the turn weight: 0"
            )


def _add_shortened(
    rows: RowBuilder,
    rendering: Rendering,
    place: str,
    max_length: int,
    too_long: TooLong,
    overlap: int,
    bos_id: int | None,
) -> None:
    token_ids, weights = rendering.token_ids, rendering.weights
    if too_long == "error":
        raise DataError(
            f"{place}: {len(token_ids)} tokens, but data.max_length is {max_length}: raise it, or set data.too_long "
            "to drop (leave such rows out), head, tail, middle (cut them, the answer too) or sliding (windows)"
        )
    pieces = shorten_row(token_ids, weights, max_length, too_long, overlap=overlap, bos_id=bos_id)
    pieces = [piece for piece in pieces if piece.num_supervised]
    if not pieces:
        rows.num_dropped += 1
    elif too_long == "sliding":
        rows.num_slid += 1
        rows.num_windows += len(pieces)
    else:
        rows.num_truncated += 1
        kept = sum(piece.num_supervised for piece in pieces)
        rows.num_answers_cut += kept < sum(weight > 0 for weight in weights[1:])
    for piece in pieces:
        rows.add(piece.token_ids, piece.weights, place)


def text_dataset(rows: Iterable[Row], tokenizer: Any, *, max_length: int) -> TokenDataset:
    """Cut documents (`{"text": ...}`) into pieces of at most `max_length` tokens; every token is learnt.

    A document ends with the tokenizer's end-of-text token. Neighbouring pieces of a document overlap by one
    token, so that each token but the document's first is predicted exactly once. Pieces never join two
    documents. Raises DataError with the place of a row without a text.
    """
    end_id = tokenizer.eos_token_id
    if end_id is None:
        raise DataError("this tokenizer has no end-of-text token (eos_token), so documents cannot be ended")
    pieces = RowBuilder()
    stream = iter(rows)
    while batch := list(islice(stream, _ENCODE_AT_ONCE)):
        texts = [_text_of(row) for row in batch]
        encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for row, ids in zip(batch, encoded, strict=True):
            for piece in _pieces([*ids, end_id], max_length):
                pieces.add(piece, np.ones(len(piece), dtype=np.float32), row.where)
    return pieces.build()


def _text_of(row: Row) -> str:
    text = row.value.get("text")
    if not isinstance(text, str) or not text:
        raise DataError(f"{row.where}: field 'text': expected a text that is not empty, got {text!r:.60}")
    return text


def _pieces(ids: Sequence[int], max_length: int) -> Iterator[Sequence[int]]:
    stride = max_length - 1
    for start in range(0, max(len(ids) - 1, 1), stride):
        yield ids[start : start + max_length]


def join_datasets(chat: TokenDataset, documents: TokenDataset) -> TokenDataset:
    """Chat rows and pieces of documents as one dataset; `num_documents` counts the pieces."""
    return replace(
        chat,
        token_ids=np.concatenate([chat.token_ids, documents.token_ids]),
        weights=np.concatenate([chat.weights, documents.weights]),
        offsets=np.concatenate([chat.offsets, chat.num_tokens + documents.offsets[1:]]),
        places=[*chat.places, *documents.places],
        num_documents=documents.num_rows,
    )
