"""What a person calls a model, as something that can be asked.

A folder, an embedded name or a hub id is loaded here, a GGUF file by llama.cpp; URL#MODEL is asked where it is served.
Runs and specialists come as the folder of their model. This file knows nothing of items or graders.
"""

from collections.abc import Sequence
from typing import Protocol

from luthier.chat.messages import Message
from luthier.evaluation.answerers.endpoint import EndpointAnswerer
from luthier.evaluation.answerers.gguf import GgufAnswerer
from luthier.evaluation.answerers.local import ModelAnswerer
from luthier.evaluation.runner import AnsweredItem, Answerer
from luthier.evaluation.tasks.likelihood import Scorer
from luthier.models.endpoint import is_endpoint, parse_endpoint
from luthier.models.load import load_model


class OpenedAnswerer(Answerer, Protocol):
    """An answerer that also samples, scores, and says which model it is."""

    def identity(self) -> str:
        """A hash: the same one, the same answers to the same prompts, unless the model `may_change`."""
        ...

    @property
    def may_change(self) -> bool:
        """Whether another model may answer under the same identity tomorrow."""
        ...

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        max_new_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> Sequence[AnsweredItem]:
        """As `answer`, at a temperature."""
        ...

    def scorer(self) -> Scorer:
        """How likely it finds a given answer. Raises EvaluationError where it cannot say."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def open_answerer(
    ref: str,
    *,
    name: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    api_key_variable: str | None = None,
    timeout_seconds: float = 60.0,
    max_concurrency: int = 4,
) -> OpenedAnswerer:
    """Open a model folder, an adapter folder, an embedded name, a hub id, FILE.gguf, or URL#MODEL.

    name: what tables call it, instead of `ref`. dtype, device: of local models; the rest: of endpoints.
    Raises ModelError where there is no such model, ConfigError where the URL or the key's variable is wrong.
    """
    if is_endpoint(ref):
        endpoint = parse_endpoint(
            ref,
            api_key_variable=api_key_variable,
            timeout_seconds=timeout_seconds,
            max_concurrency=max_concurrency,
        )
        return EndpointAnswerer(endpoint, name)
    if ref.lower().endswith(".gguf"):
        return GgufAnswerer(ref, name)
    return ModelAnswerer(load_model(ref, dtype=dtype, device=device), name or ref)
