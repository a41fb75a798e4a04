"""A folder of mlx-lm as a form that can be certified: its own loader, tokenizer, stop ids and generation.

Knows nothing of how folders are made.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.export.certificate.forms import Reply, plain_prompt
from luthier.export.certificate.probes import Probe
from luthier.export.mlx import mlx_lm


class MlxForm:
    """Raises ExportError without mlx-lm."""

    takes_tools = True

    def __init__(self, folder: Path, name: str, precision: str | None = None) -> None:
        """precision: None for the type that the weights are stored in."""
        self._model, self._tokenizer, config = mlx_lm().load(str(folder), return_config=True)
        self._name = name
        self._precision = precision or str(config.get("dtype") or config.get("torch_dtype") or "float16")

    @property
    def name(self) -> str:
        return self._name

    @property
    def precision(self) -> str:
        return self._precision

    @property
    def has_template(self) -> bool:
        return bool(self._tokenizer.has_chat_template)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._tokenizer.eos_token_ids))

    def prompt_ids(self, probe: Probe) -> list[int]:
        return plain_prompt(self._tokenizer, probe)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def logits(self, token_ids: Sequence[int]) -> Tensor:
        import mlx.core as mx
        import numpy as np

        logits: Any = self._model(mx.array([list(token_ids)]))[0].astype(mx.float32)
        return torch.from_numpy(np.array(logits))

    def answers(self, probes: Sequence[Probe], max_new_tokens: int) -> list[Reply]:
        return [self._answer(self.prompt_ids(probe), max_new_tokens) for probe in probes]

    def _answer(self, prompt: list[int], max_new_tokens: int) -> Reply:
        import mlx.core as mx
        from mlx_lm.generate import generate_step

        ids: list[int] = []
        for token, _ in generate_step(mx.array(prompt), self._model, max_tokens=max_new_tokens):
            ids.append(int(token))
            if ids[-1] in self._tokenizer.eos_token_ids:
                break
        stopped = bool(ids) and ids[-1] in self._tokenizer.eos_token_ids
        text = self._tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=False)
        return Reply(text, stopped, tuple(ids), len(prompt))
