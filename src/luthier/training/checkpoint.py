"""Checkpoints that survive `kill -9`: written beside, fsynced, renamed, verified by hash when read.

A checkpoint holds what the next step depends on and nothing else: trainable weights, optimizer state, every
random generator, and the loop's own counters (the data order and the schedule follow from the step). Nothing
is pickled: tensors are safetensors, the rest is JSON. A folder counts only if its manifest names every file
with its hash; a torn one is passed over for the one before, aloud.
This file knows nothing of how weights are trained.
"""

import contextlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from luthier.errors import CheckpointError
from luthier.files import atomic_directory, write_json_atomic
from luthier.hashing import hash_file

_MANIFEST = "manifest.json"
_FILES = {"weights.safetensors", "optimizer.safetensors", "state.json"}
_NAME = re.compile(r"step-(\d{8})$")


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run: `step-N` folders, the last `keep` of them, and `best`."""

    folder: Path
    keep: int = 3

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        counters: Mapping[str, Any],
    ) -> Path:
        """Write the checkpoint after `step` steps, then remove those beyond `keep`.

        Raises CheckpointError where the disk refuses; the checkpoints before it are untouched.
        """
        path = self.folder / f"step-{step:08d}"
        tensors, scalars = _pack_optimizers(optimizers)
        random_tensors, random_state = _pack_random()
        with self._refusals(path), atomic_directory(path) as beside:
            save_file(trainable_weights(model), beside / "weights.safetensors")
            save_file({**tensors, **random_tensors}, beside / "optimizer.safetensors")
            state = {"step": step, "counters": dict(counters), "optimizers": scalars, "random": random_state}
            (beside / "state.json").write_text(json.dumps(state), encoding="utf-8")
            hashes = {file.name: hash_file(file) for file in sorted(beside.iterdir())}
            (beside / _MANIFEST).write_text(json.dumps(hashes, indent=2), encoding="utf-8")
        for old in self.list()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def save_best(self, model: nn.Module, record: Mapping[str, Any]) -> None:
        """Keep the present weights as the best so far, with a record of why."""
        path = self.folder / "best"
        with self._refusals(path), atomic_directory(path) as beside:
            save_file(trainable_weights(model), beside / "weights.safetensors")
            write_json_atomic(beside / "best.json", dict(record))

    @contextlib.contextmanager
    def _refusals(self, path: Path) -> Iterator[None]:
        """What the disk refuses, as a CheckpointError that says how to go on."""
        try:
            yield
        except (OSError, SafetensorError) as error:  # safetensors wraps the disk's refusal in its own error
            names = [old.name for old in self.list()]
            raise CheckpointError(
                f"cannot write the checkpoint {path}: {error}. Free some space and resume; "
                f"the last good checkpoint is {names[-1] if names else 'none'}"
            ) from error

    def load_best(self, model: nn.Module) -> bool:
        """Put the best weights into the model; False where none were kept."""
        path = self.folder / "best" / "weights.safetensors"
        if not path.exists():
            return False
        load_trainable_weights(model, load_file(path))
        return True

    def list(self) -> list[Path]:
        """The `step-N` folders, oldest first."""
        if not self.folder.exists():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.match(path.name))

    def load_latest(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        say: Callable[[str], None],
    ) -> tuple[int, dict[str, Any]] | None:
        """Restore the newest whole checkpoint; returns (steps done, counters), or None where there is none.

        A torn one is named through `say` and passed over. What a killed process left half-written is removed.
        Raises CheckpointError where there are checkpoints and every one is torn.
        """
        for litter in self.folder.glob(".*.tmp"):
            shutil.rmtree(litter, ignore_errors=True)
        paths = self.list()
        if not paths:
            say("there is no checkpoint yet: starting at the first step")
        for path in reversed(paths):
            problem = verify(path)
            if problem is not None:
                say(f"checkpoint {path.name} is torn ({problem}); using the one before it")
                continue
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            load_trainable_weights(model, load_file(path / "weights.safetensors"))
            tensors = load_file(path / "optimizer.safetensors")
            _unpack_optimizers(optimizers, tensors, state["optimizers"])
            _unpack_random(tensors, state["random"])
            return int(state["step"]), dict(state["counters"])
        if paths:
            raise CheckpointError(
                f"{self.folder}: every checkpoint is torn ({', '.join(path.name for path in paths)}), so the run "
                "cannot be resumed; start it again under another name"
            )
        return None


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None where every file is there with its hash."""
    try:
        hashes = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"no readable manifest: {error}"
    if not isinstance(hashes, dict) or not hashes.keys() >= _FILES:
        return "the manifest does not name every file"
    for name, expected in hashes.items():
        file = path / name
        if not file.exists():
            return f"{name} is missing"
        if hash_file(file) != expected:
            return f"{name} does not have the hash that was written"
    return None


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that train, by name, each once (tied ones share storage and are named once)."""
    return {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trainable_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights back. Raises CheckpointError where names or shapes are not those of the model."""
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys():
        differing = sorted(own.keys() ^ weights.keys())[:3]
        raise CheckpointError(f"the checkpoint is of another model or method: it differs in {differing}")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                raise CheckpointError(
                    f"{name}: expected shape {tuple(parameter.shape)}, got {tuple(weights[name].shape)}"
                )
            parameter.copy_(weights[name])


def _pack_optimizers(optimizers: Sequence[Optimizer]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    tensors: dict[str, Tensor] = {}
    scalars: list[dict[str, Any]] = []
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{index}.{key}"] = value.detach().contiguous()
                else:
                    plain.setdefault(str(index), {})[key] = value
        scalars.append({"kind": type(optimizer).__name__, "groups": state["param_groups"], "plain": plain})
    return tensors, scalars


def _unpack_optimizers(
    optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor], scalars: list[dict[str, Any]]
) -> None:
    if [type(o).__name__ for o in optimizers] != [s["kind"] for s in scalars]:
        raise CheckpointError("the checkpoint was written by other optimizers; resume with the same recipe")
    for number, (optimizer, scalar) in enumerate(zip(optimizers, scalars, strict=True)):
        state: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in scalar["plain"].items()}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind != "optimizer":
                continue
            owner, index, key = rest.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": scalar["groups"]})


def _pack_random() -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"random.cuda.{index}"] = state
    kind, keys, position, has_gauss, cached = np.random.get_state()
    tensors["random.numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    version, internal, gauss = random.getstate()
    plain = {
        "numpy": [kind, int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }
    return tensors, plain


def _unpack_random(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    torch.set_rng_state(tensors["random.torch"])
    cuda = [tensors[name] for name in sorted(tensors) if name.startswith("random.cuda.")]
    if cuda and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)
    kind, position, has_gauss, cached = plain["numpy"]
    np.random.set_state(
        (kind, tensors["random.numpy"].numpy().astype(np.uint32), position, has_gauss, cached)
    )
    version, internal, gauss = plain["python"]
    random.setstate((version, tuple(internal), gauss))
