"""A GGUF file as something that can be asked, through llama.cpp: the file's own template and stop ids.

This file knows nothing of items or graders.
"""

import time
from collections.abc import Sequence

from luthier.chat.messages import Conversation, Message
from luthier.chat.parse import Termination
from luthier.evaluation.runner import AnsweredItem
from luthier.models.gguf import GgufModel


class GgufAnswerer:
    """Asks one conversation after the other, greedily."""

    def __init__(self, model: GgufModel, name: str) -> None:
        self._model = model
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """Raises TemplateError where a conversation cannot be rendered, DataError where it is too long."""
        return [self._one(tuple(messages), max_new_tokens) for messages in conversations]

    def _one(self, messages: tuple[Message, ...], max_new_tokens: int) -> AnsweredItem:
        started = time.perf_counter()
        prompt = self._model.prompt_ids(Conversation(messages))
        ids = self._model.generate(prompt, max_new_tokens)
        seconds = time.perf_counter() - started
        stopped = bool(ids) and ids[-1] in self._model.stop_ids
        # The first stop id is the end of turn.
        clean = stopped and ids[-1] == self._model.stop_ids[0]
        return AnsweredItem(
            text=self._model.decode(ids[:-1] if stopped else ids).strip(),
            token_ids=tuple(ids),
            prompt=self._model.decode(prompt),
            num_prompt_tokens=len(prompt),
            termination=Termination.CLEAN if clean else Termination.EOS if stopped else Termination.LENGTH,
            seconds=seconds,
            latency_seconds=seconds,
        )
