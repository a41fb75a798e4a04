"""A GGUF file as something that can be asked, through llama.cpp: its own template, tokenizer and stop ids.

One conversation after the other; llama.cpp uses the cores for each. This file knows nothing of items or graders.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.chat.messages import Conversation, Message
from luthier.chat.parse import AnswerTokens, parse_answer
from luthier.chat.parts import Markup
from luthier.errors import EvaluationError
from luthier.evaluation.answerers.local import whole_text
from luthier.evaluation.runner import AnsweredItem
from luthier.evaluation.tasks.likelihood import Scorer
from luthier.hashing import hash_file
from luthier.models.gguf import GgufModel

MAX_CONTEXT = 8192  # keys and values of a long context would fill the memory, and few questions need one


class GgufAnswerer:
    """Asks a GGUF file; close it, so that its memory is given back."""

    def __init__(self, path: str | Path, name: str | None = None, *, num_threads: int | None = None) -> None:
        """num_threads: default, all cores. Raises ModelError where llama.cpp is missing or cannot load the file."""
        self._model = GgufModel(path, context_length=MAX_CONTEXT, num_threads=num_threads)
        self._name = name or str(path)
        marks = {str(mark): mark for mark in Markup}
        controls = self._model.control_ids
        self._markup_ids = {token: marks[text] for text, token in controls.items() if text in marks}

    @property
    def name(self) -> str:
        return self._name

    def identity(self) -> str:
        """The hash of the file, which holds weights, tokenizer and template."""
        return hash_file(self._model.path)

    @property
    def may_change(self) -> bool:
        return False

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """Greedy. Raises TemplateError where a conversation cannot be rendered, DataError where it is too long."""
        return self.sample(conversations, max_new_tokens, 0.0, None)

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        max_new_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> Sequence[AnsweredItem]:
        """At a temperature, over the whole vocabulary. Raises as `answer`."""
        choose = _greedy if temperature == 0 else _sampler(temperature, seed or 0)
        return [self._one(messages, max_new_tokens, choose) for messages in conversations]

    def _one(
        self, messages: Sequence[Message], max_new_tokens: int, choose: Callable[[NDArray[np.float32]], int]
    ) -> AnsweredItem:
        started = time.perf_counter()
        prompt = self._model.prompt_ids(Conversation(tuple(messages)))
        token_ids = self._model.generate(prompt, max_new_tokens, choose)
        shown = self._model.decode(prompt)
        tokens = AnswerTokens(
            self._model.stop_ids,
            set(self._model.control_ids.values()),
            self._markup_ids,
            opens_thinking=shown.rstrip().endswith(Markup.THINK_OPEN),
        )
        parsed = parse_answer(token_ids, tokens, self._model.decode)
        seconds = time.perf_counter() - started
        return AnsweredItem(
            text=whole_text(parsed),
            token_ids=tuple(token_ids),
            prompt=shown,
            num_prompt_tokens=len(prompt),
            termination=parsed.termination,
            seconds=seconds,
            latency_seconds=seconds,
        )

    def scorer(self) -> Scorer:
        """Raises EvaluationError: choices are scored by the token path of training, which a file does not hold."""
        raise EvaluationError(
            f"{self.name}: 'ask: likelihood' needs a model folder, not a GGUF file; use 'ask: generate' to "
            "compare the two"
        )

    def close(self) -> None:
        self._model.close()


def _greedy(logits_V: NDArray[np.float32]) -> int:
    return int(logits_V.argmax())


def _sampler(temperature: float, seed: int) -> Callable[[NDArray[np.float32]], int]:
    """Draws a token: the largest of logits / temperature plus Gumbel noise (the Gumbel-max trick)."""
    random = np.random.default_rng(seed)

    def choose(logits_V: NDArray[np.float32]) -> int:
        return int((logits_V / temperature + random.gumbel(size=len(logits_V))).argmax())

    return choose
