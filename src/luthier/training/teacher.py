"""The soft labels of a teacher: computed once over the rows of a run, and kept in the run folder.

A teacher is any model that Luthier loads, an adapter too, with the student's vocabulary. Its logits are made in chunks,
and of each only the likeliest tokens stay. The folder says what it was computed from: the rows, the teacher's files,
the temperature, the number of tokens kept, the dtype; where any differs, it is computed anew. Knows nothing of losses
and steps.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from luthier.data.batches import Cut
from luthier.data.dataset import TokenDataset
from luthier.data.soft_labels import SoftLabels
from luthier.data.targets import entries, supervised_tokens
from luthier.errors import ConfigError
from luthier.files import atomic_directory, write_json_atomic
from luthier.hashing import hash_file
from luthier.models.forward import Head, causal_parts
from luthier.models.load import Source, attach_adapter, find_model, load_config, load_tokenizer, load_weights
from luthier.training.learner import Learner, choose_cut, precision
from luthier.training.objective_config import DistillObjective
from luthier.training.objectives.distill import LEAST, outcomes
from luthier.training.objectives.log_probs import chunk_logits, chunks
from luthier.training.reference import hash_rows

FOLDER = "teacher"
_KEY, _IDS, _LOG_PROBS = "key.json", "token_ids.npy", "log_probs.npy"


def check_teacher(config: DistillObjective, tokenizer: Any) -> None:
    """Raises ConfigError where the teacher does not read the student's tokens, ModelError where it is not there."""
    theirs = load_tokenizer(find_model(config.teacher).tokenizer_place).get_vocab()
    own = tokenizer.get_vocab()
    if theirs == own:
        return
    differing = next((token for token in own if theirs.get(token) != own[token]), None)
    example = (
        ""
        if differing is None
        else f"; {differing!r} is {own[differing]} here and {theirs.get(differing)} there"
    )
    raise ConfigError(
        f"objective.teacher: {config.teacher} has another vocabulary ({len(theirs):,} tokens) than the model that "
        f"learns ({len(own):,}){example}. Distillation compares the two models token by token: take a teacher of the "
        "same family, or let it write answers and learn those (objective sft)"
    )


def with_teacher(
    config: DistillObjective,
    datasets: Mapping[str, TokenDataset],
    vocab_size: int,
    tokens_per_microbatch: int,
    compute_dtype: torch.dtype,
    device: torch.device,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, TokenDataset], str]:
    """The datasets (by name) with the teacher's soft labels, and a word on where these came from.

    `vocab_size`: of the student's head. Raises ConfigError where the labels would not fit on the disk.
    """
    source = find_model(config.teacher)
    kept = None if config.top_k is None or config.top_k >= vocab_size else config.top_k
    key = {
        "rows": hash_rows(datasets),
        "teacher": _hash_files(source),
        "temperature": config.temperature,
        "top_k": kept,
        "vocab_size": vocab_size,
        "dtype": str(compute_dtype),
    }
    place = folder / FOLDER
    word = f"the teacher's soft labels: read from {FOLDER}/"
    if not _is_of(place, key):
        _refuse_too_large(datasets, kept or vocab_size, folder)
        # What a model draws on being made is no part of the run's own random numbers.
        with torch.random.fork_rng(), atomic_directory(place) as beside:
            learner, cut = _teacher(source, compute_dtype, device)
            for name, dataset in datasets.items():
                (beside / name).mkdir()
                labels = _Labels(config.temperature, kept, vocab_size, beside / name)
                labels.compute(learner, dataset, cut, tokens_per_microbatch, compute_dtype, progress)
            write_json_atomic(beside / _KEY, key)
        word = f"the teacher's soft labels: computed once, kept in {FOLDER}/"
    return {name: replace(one, soft=_read(place / name, one)) for name, one in datasets.items()}, word


def _teacher(source: Source, compute_dtype: torch.dtype, device: torch.device) -> tuple[Learner, Cut]:
    model = load_weights(source.base, compute_dtype)
    if source.adapter is not None:
        model = attach_adapter(model, source.adapter)
    model.to(device).eval()
    learner = Learner(model, causal_parts(model), device)
    return learner, choose_cut(learner, "auto")[0]


class _Labels:
    """Writes the labels of one dataset into a folder."""

    def __init__(self, temperature: float, kept: int | None, vocab_size: int, folder: Path) -> None:
        self.temperature, self.kept, self.vocab_size, self.folder = temperature, kept, vocab_size, folder

    @torch.no_grad()
    def compute(
        self,
        learner: Learner,
        dataset: TokenDataset,
        cut: Cut,
        tokens_per_microbatch: int,
        compute_dtype: torch.dtype,
        progress: Callable[[int, int], None],
    ) -> None:
        tokens_S = supervised_tokens(dataset)
        width = self.vocab_size if self.kept is None else self.kept + 1
        log_probs = open_memmap(self.folder / _LOG_PROBS, "w+", np.float32, (len(tokens_S), width))
        ids = None
        if self.kept is not None:
            ids = open_memmap(self.folder / _IDS, "w+", np.int32, (len(tokens_S), self.kept))
        done = 0
        for batch in cut(dataset, range(dataset.num_rows), tokens_per_microbatch):
            with learner.laid_out(batch), precision(learner.device, compute_dtype):
                outputs, _ = learner.outputs(batch)
                found_ids, found = self._likeliest(outputs.hidden_MC, outputs.head)
            of = entries(batch)  # a token that rows share is written for each of them
            at = np.searchsorted(tokens_S, dataset.offsets[batch.row_indices_B[of.row_D]] + of.position_D)
            log_probs[at] = found.float().cpu().numpy()[of.index_D]
            if ids is not None and found_ids is not None:
                ids[at] = found_ids.cpu().numpy()[of.index_D]
            done += len(batch.row_indices_B)
            progress(done, dataset.num_rows)
        for array in (log_probs, ids):
            if array is not None:
                array.flush()

    def _likeliest(self, hidden_MC: Tensor, head: Head) -> tuple[Tensor | None, Tensor]:
        """(ids, log-probabilities) of the tokens to keep; models of one vocabulary may pad it to other sizes."""
        own = Head(
            head.weight_VC[: self.vocab_size],
            None if head.bias_V is None else head.bias_V[: self.vocab_size],
            head.scale,
            head.softcap,
        )
        low = hidden_MC.dtype
        ids, found = [], []
        for part in chunks(len(hidden_MC), len(own.weight_VC)):
            precise = torch.float64 if low == torch.float64 else torch.float32
            logits, _ = chunk_logits(hidden_MC[part], own, low, precise)
            log_probs = (logits / self.temperature).log_softmax(1)
            if self.kept is None:
                lacking = self.vocab_size - log_probs.shape[1]
                found.append(torch.nn.functional.pad(log_probs, (0, lacking), value=LEAST))
                continue
            ids.append(log_probs.topk(min(self.kept, log_probs.shape[1]), 1).indices)
            found.append(outcomes(log_probs, ids[-1]))
        return torch.cat(ids) if ids else None, torch.cat(found)


def _hash_files(source: Source) -> dict[str, str]:
    """What tells one teacher from another: the hashes of its files, or the hub's own revision."""
    hashes = {}
    for part in (source.base, *([] if source.adapter is None else [str(source.adapter)])):
        folder = Path(part).expanduser()
        if not folder.is_dir():
            hashes[part] = str(getattr(load_config(part), "_commit_hash", None))
            continue
        for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")]):
            hashes[f"{folder.name}/{file.name}"] = hash_file(file)
    return hashes


def _refuse_too_large(datasets: Mapping[str, TokenDataset], kept: int, folder: Path) -> None:
    count = sum(len(supervised_tokens(one)) for one in datasets.values())
    needed, free = count * (8 * kept + 4), shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"objective.top_k: the soft labels of {count:,} tokens, {kept:,} for each, take {needed / 1e9:.1f} GB, and "
            f"{folder} has {free / 1e9:.1f} GB left; keep fewer (objective.top_k=16)"
        )


def _is_of(place: Path, key: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads((place / _KEY).read_text(encoding="utf-8")) == key)
    except (OSError, ValueError):
        return False


def _read(place: Path, dataset: TokenDataset) -> SoftLabels:
    ids = np.load(place / _IDS, mmap_mode="r") if (place / _IDS).exists() else None
    return SoftLabels(supervised_tokens(dataset), ids, np.load(place / _LOG_PROBS, mmap_mode="r"))
