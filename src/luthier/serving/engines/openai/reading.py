"""A streamed answer of the OpenAI protocol as pieces: its text or ids, its log-probabilities, its end.

Knows nothing of requests, health or queues.
"""

from collections import Counter
from functools import cached_property
from typing import Any

from luthier.serving.engines.engine import Piece, TokenLogprob, Unavailable
from luthier.serving.engines.openai.manner import as_text


class Reader:
    """Reads what an upstream says with the words of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def piece(self, chunk: Any) -> Piece | None:
        """The next part of an answer; None for a chunk that says nothing. Raises Unavailable for what is no answer."""
        choices = getattr(chunk, "choices", None) or []
        if not choices:
            return None
        choice = choices[0]
        text, reason = choice.text or "", choice.finish_reason
        if reason not in (None, "stop", "length"):
            raise Unavailable(f"the upstream ended the answer with {reason!r}")
        ids = tuple(getattr(choice, "token_ids", None) or ())
        if not (text or ids or reason):
            return None
        return Piece(ids, self._logprobs(choice.logprobs), None if ids else text, reason)

    def _logprobs(self, found: Any) -> tuple[TokenLogprob, ...]:
        """Of the tokens whose text is that of one id alone; the protocol gives texts, and others cannot be told."""
        if found is None or not found.tokens:
            return ()
        tops = found.top_logprobs or [None] * len(found.tokens)
        told = []
        for text, logprob, top in zip(found.tokens, found.token_logprobs or [], tops, strict=True):
            if text not in self._ids or logprob is None:
                continue
            best = [(self._ids[one], value) for one, value in (top or {}).items() if one in self._ids]
            best.sort(key=lambda pair: -pair[1])
            told.append(TokenLogprob(self._ids[text], float(logprob), tuple(best)))
        return tuple(told)

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The ids that a text stands for alone, as it is in the middle of a text."""
        anchor = self._tokenizer.encode("a", add_special_tokens=False)
        skip = len(as_text(self._tokenizer, anchor))
        texts = [as_text(self._tokenizer, [*anchor, one])[skip:] for one in range(len(self._tokenizer))]
        counts = Counter(texts)
        return {text: one for one, text in enumerate(texts) if counts[text] == 1}
