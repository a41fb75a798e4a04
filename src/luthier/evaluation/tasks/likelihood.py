"""Multiple choice by likelihood: each choice is scored as the answer, and the likeliest is taken.

A choice's log-likelihood is divided by its bytes, or long choices could not win (the harness of EleutherAI calls this
acc_norm). It is taken through the one token path, over exactly the tokens that training would supervise: the words of
the choice and the end of the turn.
This file knows nothing of graders and files.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from luthier.chat.messages import Conversation, Message
from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.graders.choice import LETTERS, choices_of
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import AnsweredItem, Answerer, Asking
from luthier.models.forward import causal_parts
from luthier.models.load import LoadedModel

_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Likelihood:
    """log_probability: the sum over the answer's tokens, natural logarithm. num_bytes: of its UTF-8."""

    log_probability: float
    num_tokens: int
    num_bytes: int

    @property
    def per_byte(self) -> float:
        return self.log_probability / self.num_bytes


class Scorer(Protocol):
    """A model that can say how likely an answer is."""

    def likelihoods(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> Sequence[Likelihood]:
        """One per (conversation up to the answer, answer), in order."""
        ...


@runtime_checkable
class _Scoring(Protocol):
    def scorer(self) -> Scorer: ...


class ModelScorer:
    """Scores with a local model, without gradients."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._parts = causal_parts(loaded.model)

    def likelihoods(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> Sequence[Likelihood]:
        """Raises EvaluationError where an answer is empty, DataError and TemplateError as rendering does."""
        found: list[Likelihood] = []
        for start in range(0, len(pairs), _ROWS_AT_ONCE):
            found += self._batch(pairs[start : start + _ROWS_AT_ONCE])
        return found

    def _row(self, messages: Sequence[Message], answer: str) -> tuple[list[int], list[bool]]:
        """Token ids, and which of them the answer says."""
        if not answer:
            raise EvaluationError("expected an answer to score, found an empty text")
        earlier = [dataclasses.replace(m, weight=0.0) if m.role == "assistant" else m for m in messages]
        conversation = Conversation((*earlier, Message("assistant", answer)))
        (rendering,) = self._loaded.renderer.render(conversation)
        return list(rendering.token_ids), [weight > 0 for weight in rendering.weights]

    @torch.no_grad()
    def _batch(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[Likelihood]:
        rows = [self._row(messages, answer) for messages, answer in pairs]
        num_inputs = max(len(ids) for ids, _ in rows) - 1
        inputs_BT = torch.zeros(len(rows), num_inputs, dtype=torch.long)
        for index, (ids, _) in enumerate(rows):
            inputs_BT[index, : len(ids) - 1] = torch.tensor(ids[:-1])
        head = self._parts.head()
        device = head.weight_VC.device
        hidden_BTC = self._parts.hidden_states(inputs_BT.to(device))
        found = []
        for index, ((ids, said), (_, answer)) in enumerate(zip(rows, pairs, strict=True)):
            places = [t for t in range(1, len(ids)) if said[t]]
            logits_NV = head.logits(hidden_BTC[index, [t - 1 for t in places]])
            targets_N = torch.tensor([ids[t] for t in places], device=device)
            nats = float(nn.functional.cross_entropy(logits_NV, targets_N, reduction="none").double().sum())
            found.append(Likelihood(-nats, len(places), len(answer.encode())))
        return found


def likelihood_of(answerer: Answerer) -> Asking:
    """How a model that can be asked scores choices. Raises EvaluationError where it cannot."""
    if not isinstance(answerer, _Scoring):
        raise EvaluationError(f"{answerer.name} cannot say how likely a choice is (ask: likelihood)")
    return by_likelihood(answerer.scorer())


def by_likelihood(scorer: Scorer) -> Asking:
    """Answers that are the likeliest choice of each item, per byte, for `runner.evaluate`."""

    def ask(items: Sequence[EvalItem], conversations: Sequence[Sequence[Message]]) -> Sequence[AnsweredItem]:
        return [_choose(scorer, item, messages) for item, messages in zip(items, conversations, strict=True)]

    return Asking("likelihood", ask)


def _choose(scorer: Scorer, item: EvalItem, messages: Sequence[Message]) -> AnsweredItem:
    started = time.perf_counter()
    choices = choices_of(item)
    scored = scorer.likelihoods([(messages, choice) for choice in choices])
    best = max(range(len(choices)), key=lambda index: scored[index].per_byte)
    shown = "".join(f"<{message.role}>{message.content}" for message in messages)
    marks = " ".join(f"{LETTERS[i]}={one.per_byte:.3f}" for i, one in enumerate(scored))
    return AnsweredItem(
        text=choices[best],
        token_ids=(),
        prompt=f"{shown}\n[log-likelihood per byte: {marks}]",
        num_prompt_tokens=0,
        termination=Termination.CLEAN,
        seconds=time.perf_counter() - started,
    )
