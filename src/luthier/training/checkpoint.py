"""Checkpoints that survive `kill -9`: written beside, fsynced, renamed, verified by hash when read.

A checkpoint holds what the next step depends on and nothing else: trainable weights, optimizer state, every
random generator, and the loop's own counters (the data order and the schedule follow from the step). Nothing
is pickled: tensors are safetensors, the rest is JSON. A folder counts only if its manifest names every file
with its hash; a torn one is set aside, aloud, and the one before is used. So it is with the best weights.
This file knows nothing of how weights are trained.
"""

import contextlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
_BEST_FILES = {"weights.safetensors", "best.json"}
_NAME = re.compile(r"step-(\d{8})$")
_TORN = ".torn"


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
            _write_manifest(beside)
        for old in self.list()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def save_best(self, model: nn.Module, record: Mapping[str, Any]) -> None:
        """Keep the present weights as the best so far, with a record of why."""
        path = self.folder / "best"
        with self._refusals(path), atomic_directory(path) as beside:
            save_file(trainable_weights(model), beside / "weights.safetensors")
            write_json_atomic(beside / "best.json", dict(record))
            _write_manifest(beside)

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
        """Put the best weights into the model; False where none were kept. Raises CheckpointError where torn."""
        path = self.folder / "best"
        if not path.exists():
            return False
        if (problem := verify(path, _BEST_FILES)) is not None:
            raise CheckpointError(
                f"{path}: the best weights are torn ({problem}). To keep the last weights instead, remove this folder "
                "and resume"
            )
        load_trainable_weights(model, load_file(path / "weights.safetensors"))
        return True

    def mend_best(self, best_step: int | None) -> str | None:
        """Before a run goes on: bring `best` back where a kill fell between its renames; say what is wrong with it.

        `best_step`: the step whose weights the best ones are, as the checkpoint remembers; None where there were none.
        What is said means that nothing is left of them.
        """
        path = self.folder / "best"
        aside = [one for one in self.folder.glob(".best.*.tmp") if verify(one, _BEST_FILES) is None]
        if not path.exists() and aside:  # old and new both stand beside: the one that the checkpoint knows
            os.replace(min(aside, key=lambda one: _best_step(one) != best_step), path)
        _remove_litter(self.folder, "best")
        problem = verify(path, _BEST_FILES) if path.exists() else "they are missing"
        if problem is None:
            return None
        _set_aside(path)
        return problem if best_step is not None else None

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

        A torn one is named through `say` and set aside as `step-N.torn`: among those that are kept it would take the
        place of a whole one. What a killed process left half-written is removed.
        Raises CheckpointError where there are checkpoints and every one is torn.
        """
        _remove_litter(self.folder, "step-*")
        paths, torn = self.list(), []
        if not paths:
            say("there is no checkpoint yet: starting at the first step")
        for path in reversed(paths):
            problem = verify(path)
            if problem is not None:
                torn.append(path)
                say(f"checkpoint {path.name} is torn ({problem}); using the one before it")
                continue
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            load_trainable_weights(model, load_file(path / "weights.safetensors"))
            tensors = load_file(path / "optimizer.safetensors")
            _unpack_optimizers(optimizers, tensors, state["optimizers"])
            _unpack_random(tensors, state["random"])
            for one in torn:
                _set_aside(one)
            return int(state["step"]), dict(state["counters"])
        if paths:
            raise CheckpointError(
                f"{self.folder}: every checkpoint is torn ({', '.join(path.name for path in paths)}), so the run "
                "cannot be resumed; start it again under another name"
            )
        return None


def verify(path: Path, files: Collection[str] = _FILES) -> str | None:
    """What is wrong with a folder of `files`, or None where each is there with its hash.

    Further files are no fault. A checkpoint must also lie under the name of its own step.
    """
    manifest = path / _MANIFEST
    if manifest.exists() and not manifest.is_file():
        return "its manifest is no file"  # opening a pipe would wait for ever
    try:
        hashes = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return f"no readable manifest: {error}"
    if not isinstance(hashes, dict) or hashes.keys() != set(files):
        return "the manifest does not name every file"
    for name, expected in hashes.items():
        file = path / name
        if not file.exists():
            return f"{name} is missing"
        if not file.is_file():
            return f"{name} is no file"
        try:
            found = hash_file(file)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if found != expected:
            return f"{name} does not have the hash that was written"
    if (name := _NAME.match(path.name)) and (step := _step(path)) != int(name[1]):
        return f"it is the checkpoint of step {step}, under another name"
    return None


def _step(path: Path) -> int:
    return int(json.loads((path / "state.json").read_text(encoding="utf-8"))["step"])


def _best_step(path: Path) -> int | None:
    return json.loads((path / "best.json").read_text(encoding="utf-8")).get("step")  # type: ignore[no-any-return]


def _write_manifest(folder: Path) -> None:
    hashes = {file.name: hash_file(file) for file in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(hashes, indent=2), encoding="utf-8")


def _remove_litter(folder: Path, names: str) -> None:
    """What a killed process left half-written."""
    for litter in folder.glob(f".{names}.*.tmp"):
        shutil.rmtree(litter, ignore_errors=True)


def _set_aside(path: Path) -> None:
    """Under a name that nobody looks for. What cannot be renamed stays, and is passed over again."""
    aside = path.with_name(path.name + _TORN)
    with contextlib.suppress(OSError):
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(path, aside)


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
