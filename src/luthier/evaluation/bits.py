"""Bits per byte: how many bits a model needs for a text, per byte of its UTF-8. Lower is better.

The total negative log-likelihood of the tokens divided by the bytes of the text, so that models with
different tokenizers can stand side by side (cross-entropy per token cannot: longer tokens are harder).
A text is charged as the model's own tokenizer cuts it; other cuts are not summed over, so the figure is an
upper bound. The end of a document is not charged, for it has no bytes.
This file knows nothing of files, tasks or graders.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier.errors import EvaluationError
from luthier.models.forward import CausalParts, Head, causal_parts
from luthier.models.load import LoadedModel

_LOGIT_ROWS = 1024  # positions whose logits exist at once

Encode = Callable[[str], Sequence[int]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BitsPerByte:
    """The figure, and what it was counted on. `num_tokens`: all tokens of the texts, each charged once."""

    bits_per_byte: float
    nats_per_token: float
    num_bytes: int
    num_tokens: int

    @property
    def bytes_per_token(self) -> float:
        """Mean UTF-8 bytes that a token stands for."""
        return self.num_bytes / self.num_tokens


@dataclass(frozen=True, slots=True)
class Window:
    """Inputs `begin:end` of a document; what follows input t is charged for `first_charged <= t < end`."""

    begin: int
    end: int
    first_charged: int


def windows(num_inputs: int, max_length: int, stride: int) -> Iterator[Window]:
    """Cut `num_inputs` positions so that each is charged once, in windows of at most `max_length`.

    The first window charges all it holds; each later one charges at most `stride` new positions at its end
    and sees at least `max_length - stride` before them.
    """
    end = max(0, min(max_length, num_inputs))
    if end:
        yield Window(0, end, 0)
    while end < num_inputs:
        first, end = end, min(end + stride, num_inputs)
        yield Window(end - max_length, end, first)


def bits_per_byte_of(
    loaded: LoadedModel,
    texts: Sequence[str],
    *,
    max_length: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> BitsPerByte:
    """`bits_per_byte` of a loaded model. Control strings in the texts are plain text, and the first token of
    a document follows the tokenizer's bos token, or its eos token where it has no bos.

    `max_length` is the model's context length unless given. Raises EvaluationError, also where the tokenizer
    writes its unknown token for a part of a text: those bytes would be charged too little.
    """
    tokenizer = loaded.tokenizer
    start_id = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    limit = loaded.context_length
    if max_length is None and not limit:
        raise EvaluationError(f"{loaded.name}: its config states no context length; give max_length")
    if max_length is not None and limit and max_length > limit:
        raise EvaluationError(
            f"{loaded.name}: max_length is {max_length}, but its context holds {limit} tokens"
        )

    def encode(text: str) -> Sequence[int]:
        # verbose: a long document is cut into windows below, so the tokenizer need not warn of its length
        ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)[
            "input_ids"
        ]
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
            raise EvaluationError(
                f"{loaded.name}: its tokenizer writes {tokenizer.unk_token} for a part of {text[:60]!r}, and "
                "what is lost cannot be charged; bits per byte need a tokenizer that can write every text"
            )
        return ids

    return bits_per_byte(
        loaded.model,
        encode,
        texts,
        max_length=max_length or limit,
        start_id=start_id,
        stride=stride,
        batch_size=batch_size,
        progress=progress,
    )


def bits_per_byte(
    model: Any,
    encode: Encode,
    texts: Sequence[str],
    *,
    max_length: int,
    start_id: int | None,
    stride: int | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> BitsPerByte:
    """Charge every token of `texts` once, at what `model` makes of it, and divide by the texts' bytes.

    encode: a text -> its token ids, without special tokens and without loss. max_length: the tokens that a
    window shows the model. stride: see `windows`; half of max_length unless given. start_id: the token
    that stands before a document; with None nothing predicts a document's first token, and it is charged
    log2(vocabulary) bits, as a model that knows nothing would need. progress: called with (windows done,
    windows in all). Sums are float64. Raises EvaluationError.
    """
    stride = max(1, max_length // 2) if stride is None else stride
    if max_length < 1 or not 1 <= stride <= max_length or batch_size < 1:
        raise EvaluationError(
            f"expected 1 <= stride <= max_length and batch_size >= 1, got stride {stride}, "
            f"max_length {max_length}, batch_size {batch_size}"
        )
    documents = [list(encode(text)) for text in texts]
    num_bytes = sum(len(text.encode()) for text in texts)
    num_tokens = sum(map(len, documents))
    if not num_tokens:
        raise EvaluationError("expected texts to measure, got none that is not empty")
    parts = causal_parts(model)
    num_unpredicted = sum(1 for ids in documents if ids) if start_id is None else 0
    nats = num_unpredicted * math.log(parts.head().weight_VC.shape[0])
    rows = _rows(documents, start_id, max_length, stride)
    training = model.training
    model.eval()
    try:
        for begin in range(0, len(rows), batch_size):
            nats += _batch_nats(parts, rows[begin : begin + batch_size])
            if progress is not None:
                progress(min(begin + batch_size, len(rows)), len(rows))
    finally:
        model.train(training)
    return BitsPerByte(nats / math.log(2) / num_bytes, nats / num_tokens, num_bytes, num_tokens)


@dataclass(frozen=True, slots=True)
class _Row:
    """One window's tokens: its inputs and the token after the last. The last `num_charged` are charged."""

    token_ids: Sequence[int]
    num_charged: int


def _rows(documents: Sequence[list[int]], start_id: int | None, max_length: int, stride: int) -> list[_Row]:
    rows = []
    for ids in documents:
        tokens = ids if start_id is None else [start_id, *ids]
        for window in windows(len(tokens) - 1, max_length, stride):
            rows.append(_Row(tokens[window.begin : window.end + 1], window.end - window.first_charged))
    return sorted(
        rows, key=lambda row: -len(row.token_ids)
    )  # the longest first: least padding, earliest failure


@torch.no_grad()
def _batch_nats(parts: CausalParts, rows: Sequence[_Row]) -> float:
    """The nats of all charged tokens of a batch of windows."""
    head = parts.head()
    num_inputs = max(len(row.token_ids) for row in rows) - 1
    inputs_BT = torch.zeros(len(rows), num_inputs, dtype=torch.long)
    charged_BT = torch.zeros(len(rows), num_inputs, dtype=torch.bool)
    for index, row in enumerate(rows):
        end = len(row.token_ids) - 1
        inputs_BT[index, :end] = torch.tensor(row.token_ids[:end])
        charged_BT[index, end - row.num_charged : end] = True
    targets_N = torch.tensor([token for row in rows for token in row.token_ids[-row.num_charged :]])
    device = head.weight_VC.device
    hidden_NC = parts.hidden_states(inputs_BT.to(device))[charged_BT.to(device)]
    return _nats(head, hidden_NC, targets_N.to(device))


def _nats(head: Head, hidden_NC: Tensor, targets_N: Tensor) -> float:
    total = 0.0
    for begin in range(0, len(targets_N), _LOGIT_ROWS):
        piece = slice(begin, begin + _LOGIT_ROWS)
        losses = nn.functional.cross_entropy(
            head.logits(hidden_NC[piece]), targets_N[piece], reduction="none"
        )
        total += float(losses.double().sum())
    return total
