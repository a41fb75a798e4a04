"""What an answer may say so that it is JSON of a schema: a token mask that follows it, by llguidance.

Masks come as bits into a numpy array; no torch takes part. White space is limited to what a compact writer uses, or an
answer could be blank lines to its end. This file knows nothing of engines.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from luthier.errors import ServingError

_ANY_OBJECT = {"type": "object"}
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class JsonMask:
    """Follows one answer (see serving.engines.engine.TokenMask)."""

    def __init__(self, matcher: LLMatcher, num_tokens: int, stop_ids: frozenset[int]) -> None:
        self._matcher, self._num_tokens = matcher, num_tokens
        self._stop_ids = np.array(sorted(stop_ids), dtype=np.int64)
        self._bits = allocate_token_bitmask(1, num_tokens)
        self._ended = False

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,). The stop ids alone once nothing more can follow.

        Raises ServingError where the schema turns out to be too large to follow.
        """
        if self._matcher.is_error():
            raise ServingError(
                f"json_schema: cannot be followed further: {_one_line(self._matcher.get_error())}"
            )
        allowed = np.zeros(self._num_tokens, dtype=np.bool_)
        if not self._ended and not self._matcher.is_stopped():
            fill_next_token_bitmask(self._matcher, self._bits)
            bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
            allowed[:] = bits[: self._num_tokens]
        allowed[self._stop_ids] = self._ended or self._matcher.is_accepting()
        return allowed

    def accept(self, token_id: int) -> None:
        """Raises ServingError for a token that was not allowed."""
        if self._ended or token_id in self._stop_ids:
            self._ended = True
        elif not self._matcher.consume_token(token_id):
            raise ServingError(f"token {token_id} is not what the schema allows: {self._matcher.get_error()}")


def json_mask(schema: Mapping[str, Any], tokenizer: Any, stop_ids: Iterable[int] | None = None) -> JsonMask:
    """A mask for JSON of `schema` ({}: any object), in the tokens of a fast tokenizer of transformers.

    stop_ids: which may end the answer; None: the tokenizer's own end of text. Raises ServingError for a schema that
    cannot be followed, naming the part, and for a tokenizer that is not a fast one.
    """
    known = _tokenizer(tokenizer)
    stops = frozenset([tokenizer.eos_token_id] if stop_ids is None else stop_ids)
    grammar = _grammar(json.dumps(dict(schema) or _ANY_OBJECT))
    matcher = LLMatcher(known, grammar, log_level=0)
    if matcher.is_error():
        raise ServingError(f"json_schema: cannot be followed: {_one_line(matcher.get_error())}")
    return JsonMask(matcher, len(tokenizer), stops)


@lru_cache(maxsize=64)
def _grammar(schema: str) -> str:
    return str(LLMatcher.grammar_from_json_schema(schema, defaults=_COMPACT))


_known: dict[int, tuple[Any, LLTokenizer]] = {}


def _tokenizer(tokenizer: Any) -> LLTokenizer:
    """llguidance's view of a tokenizer, which takes up to a second to make; kept as long as the process lives."""
    if id(tokenizer) not in _known:
        try:
            known = from_tokenizer(tokenizer)
        except ValueError as error:
            raise ServingError(
                f"json_schema needs a fast tokenizer (tokenizer.json), got {type(tokenizer).__name__}: {error}"
            ) from error
        _known[id(tokenizer)] = (tokenizer, known)
    return _known[id(tokenizer)][1]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
