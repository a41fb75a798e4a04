"""A loaded model as something that can be asked: greedy decoding through the one token path.

This file knows nothing of items or graders.
"""

import time
from collections.abc import Sequence

from luthier.chat.messages import Message
from luthier.chat.parse import Answer
from luthier.evaluation.graders.tool_calls import spell_calls
from luthier.evaluation.runner import AnsweredItem
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel


class ModelAnswerer:
    """Asks a local model. Rendering, stop ids and parsing are those of its training template."""

    def __init__(self, loaded: LoadedModel, name: str | None = None) -> None:
        self._loaded = loaded
        self._name = name or loaded.name

    @property
    def name(self) -> str:
        return self._name

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """One batch. Raises TemplateError where a conversation cannot be rendered, ModelError where it is too long."""
        renderer = self._loaded.renderer
        started = time.perf_counter()
        prompts = [renderer.prompt(conversation) for conversation in conversations]
        answers = generate(self._loaded, prompts, Sampling(max_new_tokens=max_new_tokens))
        seconds = (time.perf_counter() - started) / max(1, len(prompts))
        answered = []
        for prompt, token_ids in zip(prompts, answers, strict=True):
            parsed = renderer.parse(token_ids)
            answered.append(
                AnsweredItem(
                    text=_whole_text(parsed),
                    token_ids=tuple(token_ids),
                    prompt=renderer.decode(prompt),
                    num_prompt_tokens=len(prompt),
                    termination=parsed.termination,
                    seconds=seconds,
                )
            )
        return answered


def _whole_text(parsed: Answer) -> str:
    """What was said, and the tools that were called, in the markup that graders read."""
    calls = spell_calls([(call.name, call.arguments) for call in parsed.tool_calls])
    return "\n".join(part for part in (parsed.text, calls) if part)
