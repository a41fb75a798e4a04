"""Elastic weight consolidation: weights that matter for general rows are held to where they began.

    penalty = weight / 2 sum_i F_i (theta_i - theta0_i)^2        Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3

theta are the parameters that train, theta0 what they were before the first step, and F is the diagonal of the empirical
Fisher information on R given rows, at theta0 and without dropout:

    F_i = 1/R sum_r (d log p(row r) / d theta_i)^2

where log p(row) is the weighted sum of the log-probabilities of the row's own supervised tokens. (The paper's Fisher
takes the expectation over the model's answers; this one takes the rows' own, as is usual.) The gradient, weight F
(theta - theta0), is added to that of the loss as it stands. Of an adapter, theta0 is its start: with LoRA B = 0, so F
of A is 0 and only B is held. Knows nothing of objectives and files of data.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from luthier.data.batches import pad_rows
from luthier.data.dataset import TokenDataset
from luthier.files import write_bytes_atomic
from luthier.training.learner import Learner, precision
from luthier.training.objectives.cross_entropy import weighted_cross_entropy
from luthier.training.reference import hash_rows

FILE = "fisher.safetensors"


@dataclass(frozen=True)
class ElasticWeights:
    """The penalty. Each parameter with its Fisher diagonal and the value that it began with."""

    held: tuple[tuple[nn.Parameter, Tensor, Tensor], ...]
    weight: float
    name: str = "ewc_penalty"

    @torch.no_grad()
    def add_gradients(self) -> float:
        """Add weight F (theta - theta0) to the gradients; returns the penalty."""
        total = torch.zeros((), dtype=torch.float64, device=self.held[0][0].device)
        for parameter, fisher, start in self.held:
            moved = parameter - start
            pull = fisher * moved
            total += (pull * moved).sum()
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.add_(pull, alpha=self.weight)
        return self.weight / 2 * float(total)


def fisher_diagonal(
    learner: Learner,
    rows: TokenDataset,
    compute_dtype: torch.dtype,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Tensor]:
    """F of every parameter that trains, by name; see the top of this file. Each row is a backward pass of its own."""
    trained = {name: p for name, p in learner.model.named_parameters() if p.requires_grad}
    diagonal = {name: torch.zeros_like(p) for name, p in trained.items()}
    training = learner.model.training
    learner.model.eval()
    try:
        for index in range(rows.num_rows):
            batch = pad_rows(rows, [index])
            with learner.laid_out(batch):
                with precision(learner.device, compute_dtype):
                    outputs, targets = learner.outputs(batch)
                    loss = weighted_cross_entropy(
                        outputs.hidden_MC, outputs.head, targets.targets_M, targets.weights_M
                    )
                gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
            for name, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:
                    diagonal[name] += gradient.to(diagonal[name].dtype) ** 2 / rows.num_rows
            progress(index + 1, rows.num_rows)
    finally:
        learner.model.train(training)
    return diagonal


def elastic_weights(
    learner: Learner,
    rows: TokenDataset,
    weight: float,
    compute_dtype: torch.dtype,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[ElasticWeights, str]:
    """The penalty, and where its Fisher diagonal came from: the run folder, where it fits, or measured now.

    Before the first step, or before a checkpoint is restored, only: the weights in `learner` are theta0.
    """
    trained = {name: p for name, p in learner.model.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained.items()}
    values = {"rows": hash_rows({"ewc": rows}), "start": _hash(start), "dtype": str(compute_dtype)}
    key = json.dumps(values, sort_keys=True)
    path = folder / FILE
    known = _read(path, key)
    word = f"Fisher information: read from {FILE}"
    if known is None:
        known = fisher_diagonal(learner, rows, compute_dtype, progress)
        write_bytes_atomic(path, save({name: one.cpu() for name, one in known.items()}, {"key": key}))
        word = f"Fisher information: measured on {rows.num_rows} rows, kept in {FILE}"
    held = tuple((p, known[name].to(p.device), start[name]) for name, p in trained.items())
    return ElasticWeights(held, weight), word


def _hash(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
