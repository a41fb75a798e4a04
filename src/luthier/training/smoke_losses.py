"""The held-out rows of a smoke run, one by one: before the first step, at the end, and with the answers of other rows.

The last is a control. A loss falls as soon as a model has learnt what answers look like; where an answer is no likelier
after its own prompt than after another row's, nothing that the prompt says was learnt. Knows nothing of verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier.data.dataset import TokenDataset
from luthier.models.forward import causal_parts
from luthier.training.learner import Learner, choose_cut
from luthier.training.loop import Evaluator, LoopConfig, Measured, mean_loss
from luthier.training.objectives import make_objective
from luthier.training.plan import Plan

_MOST_ROWS = 200


@dataclass
class RowLosses:
    """Loss per unit of weight of each held-out row (or unit of rows). `other`: its answer after another row's
    prompt.
    """

    plan: Plan
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def evaluators(self, model: Any) -> Sequence[Evaluator]:
        """To hand to `run_job`: measures at once, and again at each evaluation."""
        rows = self.plan.validation_rows
        if rows is None or make_objective(self.plan.recipe.objective).needs_reference:
            return []  # a loss against a reference begins where every pair is even: it says nothing of a start
        self.before = self._losses(model, rows)
        crossed = crossed_rows(rows) if self.plan.recipe.objective.name == "sft" else None

        def measure(_: Any) -> Measured:
            self.after = self._losses(model, rows)
            self.other = self._losses(model, crossed) if crossed is not None else []
            return Measured({})

        return [measure]

    def _losses(self, model: Any, rows: TokenDataset) -> list[float]:
        recipe = self.plan.recipe
        learner = Learner(model, causal_parts(model), self.plan.device)
        cut, _ = choose_cut(learner, recipe.train.packing)
        config = LoopConfig(1, 1, 1, 1.0, compute_dtype=self.plan.compute_dtype)
        objective, training = make_objective(recipe.objective), model.training
        budget = recipe.train.tokens_per_microbatch
        losses = []
        for unit in range(min(rows.num_units, _MOST_ROWS)):
            batches = cut(rows, rows.rows_of_units([unit]), budget)
            losses.append(mean_loss(learner, objective, batches, config))
        model.train(training)
        return losses


def crossed_rows(rows: TokenDataset) -> TokenDataset | None:
    """Each row's answer behind the prompt of the row before it; None where rows are no prompt and one answer."""
    parts = []
    for index in range(min(rows.num_rows, _MOST_ROWS)):
        ids, weights = rows.row(index)
        supervised = np.flatnonzero(weights)
        if len(supervised) == 0 or supervised[0] == 0:
            return None
        start = int(supervised[0])
        parts.append((ids[:start], ids[start:], weights[start:]))
    if len(parts) < 2:
        return None
    made_ids, made_weights = [], []
    for index, (_, answer, weights) in enumerate(parts):
        prompt = parts[index - 1][0]
        made_ids.append(np.concatenate([prompt, answer]))
        made_weights.append(np.concatenate([np.zeros(len(prompt), np.float32), weights]))
    offsets = np.cumsum([0, *map(len, made_ids)]).astype(np.int64)
    places = list(rows.places[: len(parts)])
    return TokenDataset(np.concatenate(made_ids), np.concatenate(made_weights), offsets, places)
