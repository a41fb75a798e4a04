"""Toys for preferences: random units with common prompts, and the objectives written plainly, by row, in float64."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.data.dataset import TokenDataset
from luthier.data.units import BETTER, WORSE, Units
from luthier.training.objective_config import DpoObjective, KtoObjective, OrpoObjective, SimpoObjective
from tests.training.toys import VOCAB

DPO = DpoObjective(name="dpo", beta=0.3, loss="sigmoid", label_smoothing=0.0)
IPO, HINGE = DPO.model_copy(update={"loss": "ipo"}), DPO.model_copy(update={"loss": "hinge"})
SMOOTH = DPO.model_copy(update={"label_smoothing": 0.2})
ORPO = OrpoObjective(name="orpo", beta=0.4)
SIMPO = SimpoObjective(name="simpo", beta=2.0, gamma=1.0)
KTO = KtoObjective(name="kto", beta=0.3, desirable_weight=1.0, undesirable_weight=1.5)


def random_units(
    count: int = 5, *, single: bool = False, weighted: bool = False, seed: int = 0
) -> TokenDataset:
    """Pairs (or single answers of both kinds) to prompts of which some are the same; answers of 2 to 7 tokens.

    Reference log-probabilities are random; `weighted` gives tokens weights other than 1.
    """
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(1, VOCAB, 6) for _ in range(3)]
    ids, weights, roles = [], [], []
    for unit in range(count):
        prompt = prompts[unit % 3][: 3 + unit % 4]
        for role in (unit % 2,) if single else (BETTER, WORSE):
            answer = rng.integers(1, VOCAB, rng.integers(2, 8))
            ids.append(np.concatenate([prompt, answer]).astype(np.int32))
            own = rng.choice([0.5, 1.0, 2.0], len(answer)) if weighted else np.ones(len(answer))
            weights.append(np.concatenate([np.zeros(len(prompt)), own]).astype(np.float32))
            roles.append(role)
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    starts = np.arange(0, len(ids) + 1, 1 if single else 2, dtype=np.int64)
    reference = (-rng.random(len(ids)) * 30).astype(np.float32)
    units = Units(starts, np.array(roles, np.int8), reference)
    places = [f"rows:{i + 1}" for i in range(len(ids))]
    return TokenDataset(np.concatenate(ids), np.concatenate(weights), offsets, places, units=units)


def random_feedback(count: int = 6, *, seed: int = 0) -> TokenDataset:
    """Single answers, with mismatched rows beside them."""
    beside = random_units(count, single=True, seed=seed + 1)
    assert beside.units is not None and beside.units.reference_R is not None
    # High enough above the reference that the divergence is not cut off at 0.
    lower = beside.units.reference_R - np.float32(40)
    beside = replace(beside, units=replace(beside.units, reference_R=lower))
    return replace(random_units(count, single=True, seed=seed), beside=beside)


def plain_rows(model: Any, dataset: TokenDataset) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probability, weight, reference) of each row: one ordinary call of the model for each."""
    sums, totals = [], []
    for row in range(dataset.num_rows):
        ids, weights = (torch.from_numpy(array.copy()) for array in dataset.row(row))
        logps = model(input_ids=ids[None].long()).logits[0, :-1].log_softmax(-1)
        picked = logps.gather(1, ids[1:, None].long())[:, 0]
        sums.append((picked * weights[1:]).sum())
        totals.append(weights[1:].double().sum())
    assert dataset.units is not None and dataset.units.reference_R is not None
    return torch.stack(sums), torch.stack(totals), torch.from_numpy(dataset.units.reference_R).double()


def _sides(model: Any, dataset: TokenDataset) -> list[tuple[Tensor, Tensor]]:
    rows = plain_rows(model, dataset)
    return [(part[0::2], part[1::2]) for part in rows]


def plain_dpo(model: Any, dataset: TokenDataset) -> Tensor:
    (chosen, rejected), _, (old_chosen, old_rejected) = _sides(model, dataset)
    return -torch.log(torch.sigmoid(0.3 * ((chosen - old_chosen) - (rejected - old_rejected)))).mean()


def plain_smooth(model: Any, dataset: TokenDataset) -> Tensor:
    (chosen, rejected), _, (old_chosen, old_rejected) = _sides(model, dataset)
    better = torch.sigmoid(0.3 * ((chosen - old_chosen) - (rejected - old_rejected)))
    return -(0.8 * torch.log(better) + 0.2 * torch.log(1 - better)).mean()


def plain_hinge(model: Any, dataset: TokenDataset) -> Tensor:
    (chosen, rejected), _, (old_chosen, old_rejected) = _sides(model, dataset)
    return (1 - 0.3 * ((chosen - old_chosen) - (rejected - old_rejected))).clamp(min=0).mean()


def plain_ipo(model: Any, dataset: TokenDataset) -> Tensor:
    (chosen, rejected), (long, short), (old_chosen, old_rejected) = _sides(model, dataset)
    gap = (chosen - old_chosen) / long - (rejected - old_rejected) / short
    return ((gap - 1 / 0.6) ** 2).mean()


def plain_orpo(model: Any, dataset: TokenDataset) -> Tensor:
    (chosen, rejected), (long, short), _ = _sides(model, dataset)
    p, q = torch.exp(chosen / long), torch.exp(rejected / short)
    return (-chosen / long - 0.4 * logsigmoid(torch.log(p / (1 - p)) - torch.log(q / (1 - q)))).mean()


def plain_simpo(model: Any, dataset: TokenDataset) -> Tensor:
    (chosen, rejected), (long, short), _ = _sides(model, dataset)
    return -torch.log(torch.sigmoid(2 * (chosen / long - rejected / short) - 1)).mean()


def plain_kto(model: Any, dataset: TokenDataset) -> Tensor:
    assert dataset.beside is not None and dataset.units is not None
    with torch.no_grad():
        mismatched, _, old_mismatched = plain_rows(model, dataset.beside)
        kl = (mismatched - old_mismatched).mean().clamp(min=0)
    sums, _, old = plain_rows(model, dataset)
    losses = [
        1 - torch.sigmoid(0.3 * (ratio - kl))
        if role == BETTER
        else 1.5 * (1 - torch.sigmoid(0.3 * (kl - ratio)))
        for ratio, role in zip(sums - old, dataset.units.roles_R, strict=True)
    ]
    return torch.stack(losses).mean()


CASES: dict[str, tuple[Any, Callable[[Any, TokenDataset], Tensor]]] = {
    "dpo": (DPO, plain_dpo),
    "dpo smoothed": (SMOOTH, plain_smooth),
    "hinge": (HINGE, plain_hinge),
    "ipo": (IPO, plain_ipo),
    "orpo": (ORPO, plain_orpo),
    "simpo": (SIMPO, plain_simpo),
    "kto": (KTO, plain_kto),
}
