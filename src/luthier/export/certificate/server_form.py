"""A server that speaks the OpenAI chat protocol, as a form: it shows text, lengths of prompts and why it stopped.

Knows nothing of what runs behind the URL.
"""

from collections.abc import Sequence

from torch import Tensor

from luthier.export.certificate.forms import Reply
from luthier.export.certificate.probes import Probe
from luthier.models.endpoint import ChatClient, Endpoint


class ServerForm:
    """Probes with tools are left to other forms: how a server writes tools into a prompt is its own."""

    has_template = True
    takes_tools = False
    stop_ids = None

    def __init__(self, endpoint: Endpoint, precision: str = "bfloat16") -> None:
        self._client = ChatClient(endpoint)
        self._precision = precision

    @property
    def name(self) -> str:
        return f"server={self._client.endpoint.name}"

    @property
    def precision(self) -> str:
        return self._precision

    def prompt_ids(self, probe: Probe) -> list[int] | None:
        return None

    def encode(self, text: str) -> list[int] | None:
        return None

    def logits(self, token_ids: Sequence[int]) -> Tensor | None:
        return None

    def answers(self, probes: Sequence[Probe], max_new_tokens: int) -> list[Reply]:
        asked = self._client.ask_many([list(probe.messages) for probe in probes], max_tokens=max_new_tokens)
        return [
            Reply(reply.text, reply.finish_reason == "stop", None, reply.num_prompt_tokens) for reply in asked
        ]

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
