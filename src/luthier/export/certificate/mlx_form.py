"""A folder of mlx-lm as a form that can be certified.

Knows nothing of how folders are made.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.export.certificate.forms import Reply, plain_prompt
from luthier.export.certificate.probes import Probe
from luthier.export.mlx import mlx_lm
from luthier.models.load import load_tokenizer


class MlxForm:
    """Raises ExportError without mlx-lm."""

    takes_tools = True

    def __init__(self, folder: Path, name: str, precision: str) -> None:
        self._model, _ = mlx_lm().load(str(folder))
        self._tokenizer = load_tokenizer(str(folder))
        self._name, self._precision = name, precision
        config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        stops = config.get("eos_token_id")
        self._stops = tuple(stops) if isinstance(stops, list) else () if stops is None else (int(stops),)

    @property
    def name(self) -> str:
        return self._name

    @property
    def precision(self) -> str:
        return self._precision

    @property
    def has_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self._stops

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
            if ids[-1] in self._stops:
                break
        stopped = bool(ids) and ids[-1] in self._stops
        text = self._tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=False)
        return Reply(text, stopped, tuple(ids), len(prompt))
