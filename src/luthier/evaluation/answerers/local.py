"""A loaded model as something that can be asked, through the one token path.

This file knows nothing of items or graders.
"""

import time
from collections.abc import Sequence

import torch

from luthier.chat.messages import Message
from luthier.chat.parse import Answer
from luthier.evaluation.graders.tool_calls import spell_calls
from luthier.evaluation.runner import AnsweredItem
from luthier.evaluation.tasks.likelihood import ModelScorer, Scorer
from luthier.hashing import hash_json
from luthier.models.fingerprint import hash_tensors
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

    def identity(self) -> str:
        """The hash of its weights in memory, where they lie, and its template: other weights, another identity."""
        state = self._loaded.model.state_dict()
        tensors = ((name, value) for name, value in state.items() if isinstance(value, torch.Tensor))
        renderer = self._loaded.renderer
        return hash_json(
            {
                "weights": hash_tensors(tensors),
                "device": self._loaded.device.type,
                "template": renderer.template_hash,
                "stop_ids": list(renderer.stop_ids),
            }
        )

    @property
    def may_change(self) -> bool:
        return False

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """One batch. Raises TemplateError where a conversation cannot be rendered, ModelError where it is too long."""
        return self.sample(conversations, max_new_tokens, 0.0, None)

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        max_new_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> Sequence[AnsweredItem]:
        """One batch at a temperature. Raises as `answer`."""
        renderer = self._loaded.renderer
        started = time.perf_counter()
        prompts = [renderer.prompt(conversation) for conversation in conversations]
        sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed or 0)
        answers = generate(self._loaded, prompts, sampling)
        waited = time.perf_counter() - started
        answered = []
        for prompt, token_ids in zip(prompts, answers, strict=True):
            parsed = renderer.parse(token_ids)
            answered.append(
                AnsweredItem(
                    text=whole_text(parsed),
                    token_ids=tuple(token_ids),
                    prompt=renderer.decode(prompt),
                    num_prompt_tokens=len(prompt),
                    termination=parsed.termination,
                    seconds=waited / max(1, len(prompts)),
                    latency_seconds=waited,
                )
            )
        return answered

    def scorer(self) -> Scorer:
        """How likely it finds a given answer."""
        return ModelScorer(self._loaded)

    def close(self) -> None:
        """Nothing is held that Python does not give back."""


def whole_text(parsed: Answer) -> str:
    """What was said, and the tools that were called, in the markup that graders read."""
    calls = spell_calls([(call.name, call.arguments) for call in parsed.tool_calls])
    return "\n".join(part for part in (parsed.text, calls) if part)
