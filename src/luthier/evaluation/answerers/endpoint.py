"""A model behind a URL as something that can be asked: several requests at once, the server's own counts.

What the server does with the messages (template, sampling of its own) is its secret, so what is kept as the prompt is
the messages. This file knows nothing of items or graders.
"""

import json
import time
from collections.abc import Sequence

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.runner import AnsweredItem
from luthier.evaluation.tasks.likelihood import Scorer
from luthier.hashing import hash_text
from luthier.models.endpoint import ChatClient, Endpoint

_ENDINGS = {"stop": Termination.CLEAN, "length": Termination.LENGTH}


class EndpointAnswerer:
    """Asks an OpenAI-compatible endpoint; close it, so that its connections are given back."""

    def __init__(self, endpoint: Endpoint, name: str | None = None) -> None:
        """Raises ConfigError where the key's variable is not set."""
        self._client = ChatClient(endpoint)
        self._name = name or endpoint.name

    @property
    def name(self) -> str:
        return self._name

    def identity(self) -> str:
        """The hash of the address: nobody but the server knows whether the model behind it is still the same."""
        return hash_text(self._client.endpoint.name)

    @property
    def may_change(self) -> bool:
        return True

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """Temperature 0. Raises ModelError that names the endpoint."""
        return self.sample(conversations, max_new_tokens, 0.0, None)

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        max_new_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> Sequence[AnsweredItem]:
        """At a temperature; the seed reaches the server, which need not obey it. Raises ModelError."""
        started = time.perf_counter()
        replies = self._client.ask_many(
            conversations, max_tokens=max_new_tokens, temperature=temperature, seed=seed
        )
        share = (time.perf_counter() - started) / max(1, len(conversations))
        return [
            AnsweredItem(
                text=reply.text,
                token_ids=None,
                prompt=json.dumps([message.to_dict() for message in messages], ensure_ascii=False),
                num_prompt_tokens=reply.num_prompt_tokens,
                termination=_ENDINGS.get(reply.finish_reason, Termination.MALFORMED),
                seconds=share,
                latency_seconds=reply.seconds,
                num_server_tokens=reply.num_tokens,
            )
            for messages, reply in zip(conversations, replies, strict=True)
        ]

    def scorer(self) -> Scorer:
        """Raises EvaluationError: the chat protocol shows no likelihoods of given answers."""
        raise EvaluationError(
            f"{self.name}: an endpoint does not say how likely a given answer is, so 'ask: likelihood' needs a local "
            "model; use 'ask: generate' to compare the two"
        )

    def close(self) -> None:
        self._client.close()
