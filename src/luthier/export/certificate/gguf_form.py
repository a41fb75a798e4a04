"""A GGUF file, or a base in GGUF with an adapter, as llama.cpp runs it: a form that can be certified.

Knows nothing of how files are written.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from luthier.export.certificate.forms import Reply
from luthier.export.certificate.probes import Probe
from luthier.models.gguf import GgufModel


class GgufForm:
    """Raises ModelError without llama-cpp-python, or for a file that it cannot load."""

    takes_tools = True

    def __init__(self, path: Path, name: str, precision: str, adapter: Path | None = None) -> None:
        self._model = GgufModel(path, adapter=adapter)
        self._name, self._precision = name, precision

    @property
    def name(self) -> str:
        return self._name

    @property
    def precision(self) -> str:
        return self._precision

    @property
    def has_template(self) -> bool:
        return bool(self._model.chat_template)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return tuple(self._model.stop_ids)

    def prompt_ids(self, probe: Probe) -> list[int]:
        return list(self._model.prompt_ids(probe.conversation))

    def encode(self, text: str) -> list[int]:
        return list(self._model.tokenize(text))

    def logits(self, token_ids: Sequence[int]) -> Tensor:
        return torch.from_numpy(self._model.logits(list(token_ids)))

    def answers(self, probes: Sequence[Probe], max_new_tokens: int) -> list[Reply]:
        found = []
        for probe in probes:
            prompt = self.prompt_ids(probe)
            ids = list(self._model.generate(prompt, max_new_tokens))
            stopped = bool(ids) and ids[-1] in self.stop_ids
            text = self._model.decode(ids[:-1] if stopped else ids)
            found.append(Reply(text, stopped, tuple(ids), len(prompt)))
        return found

    def close(self) -> None:
        """Give the memory back."""
        self._model.close()
