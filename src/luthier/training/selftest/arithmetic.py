"""Loss and gradients: however rows are laid together, cut or padded, they are those of the rows one at a time.

The reference is the model's own forward pass, one row at a time, and PyTorch's cross-entropy: nothing of ours is in it
but the rows. Dropout is off, and an adapter's zero weights get small numbers, or half its gradients would be 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luthier.data.batches import Batch, Cut, MicroBatch, microbatches, pad_rows
from luthier.models.forward import causal_parts
from luthier.training.learner import Learner, choose_cut
from luthier.training.loop import LoopConfig, forward_backward, mean_loss
from luthier.training.objectives import Objective, make_objective
from luthier.training.open_trunk import TrunkRequest, open_trunk
from luthier.training.selftest.bench import Bench, Proof, Skip, Word
from luthier.training.trunk import NoTrunk, find_trunk, rows_to_read

# Relative. Many models compute their norms in float32 whatever the dtype, so float64 is no exacter than this.
LOSS_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-5}
GRADIENT_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
_TOKEN_BY_TOKEN = ("chat", "text")  # the rows of objectives that sum over tokens
_EVERYTHING = 1 << 30  # tokens: all rows in one micro-batch


@dataclass(frozen=True)
class Measure:
    """The loss of some rows per unit of weight, and the gradient of each parameter that trains."""

    loss: float
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """Of one measure from another: of the losses, and of the gradient that differs most; both relative."""

    loss: float
    gradient: float
    parameter: str

    def within(self, dtype: torch.dtype) -> bool:
        """Are both no more than rounding?"""
        return self.loss <= LOSS_TOLERANCE[dtype] and self.gradient <= GRADIENT_TOLERANCE[dtype]


def forest(bench: Bench) -> Proof:
    """The rows laid together as a run lays them, against the rows one at a time."""
    learner, dtype, objective = _learner(bench), bench.exact_dtype, _objective(bench)
    alone = _reference(bench, learner.model)
    cut, notes = choose_cut(learner, bench.plan.recipe.train.packing)
    batches = cut(bench.rows, range(bench.rows.num_rows), _EVERYTHING)
    together = _measure(learner, objective, batches, dtype)
    difference = _difference(together, alone)
    padded = cut is microbatches
    numbers: dict[str, Any] = {
        "rows": bench.rows.num_rows,
        "tokens": bench.rows.num_tokens,
        "computed": sum(_computed(batch) for batch in batches),
        "loss": together.loss,
        "loss, one row at a time": alone.loss,
        **_numbers(difference, dtype),
    }
    how = "padded rows give" if padded else "the forest gives"
    said = f" ({notes[0]})" if notes else ""
    if difference.within(dtype):
        return Proof(Word.PASSED, f"{how} the loss and gradients of each row alone{said}", numbers)
    why = (
        f"{how} another loss or gradient than each row alone{said}: rows see each other, or this model computes "
        f"otherwise when they lie together. {_where(difference)}"
    )
    advice = "" if padded else "; train with train.packing=padding"
    return Proof(Word.FAILED, f"{why}{advice}", numbers)


def trunk(bench: Bench) -> Proof:
    """The rows with their frozen layers computed once and read from the disk, against all layers computed."""
    config = bench.plan.recipe.train
    if config.trunk == "off" or config.neftune_alpha is not None:
        raise Skip("the run computes every layer in every step (train.trunk off, or train.neftune_alpha)")
    learner, dtype, objective = _learner(bench), bench.exact_dtype, _objective(bench)
    cut, _ = choose_cut(learner, config.packing)
    try:
        boundary = find_trunk(learner, cut, dtype)
    except NoTrunk as reason:
        raise Skip(f"the run has no trunk: {reason}") from reason
    batches = cut(bench.rows, range(bench.rows.num_rows), bench.rows.num_tokens // 3)
    whole = _measure(learner, objective, batches, dtype)
    own_cache = config.model_copy(update={"trunk": "on", "trunk_cache": str(bench.folder / "trunk")})
    rows = rows_to_read(bench.rows, range(bench.rows.num_rows), None)
    with open_trunk(learner, TrunkRequest(own_cache, rows, cut, dtype, "")) as (crown, _):
        known = _measure(crown, objective, batches, dtype)
    difference = _difference(known, whole)
    numbers = {
        "layers": [boundary.depth, len(boundary.layers)],
        "loss": whole.loss,
        **_numbers(difference, dtype),
    }
    if difference.within(dtype):
        why = f"with {boundary.words} computed once, loss and gradients are those of the whole model"
        return Proof(Word.PASSED, why, numbers)
    why = f"the states of {boundary.words} that are kept give another loss or gradient. {_where(difference)}"
    return Proof(Word.FAILED, f"{why}; train with train.trunk=off", numbers)


def accumulation(bench: Bench) -> Proof:
    """The same rows in one micro-batch, in the recipe's and one row each."""
    learner, dtype, objective = _learner(bench), bench.exact_dtype, _objective(bench)
    cut, _ = choose_cut(learner, bench.plan.recipe.train.packing)
    sizes = (_EVERYTHING, bench.rows.num_tokens // 3, 1)
    cuts = {len(batches): batches for size in sizes if (batches := _cut(bench, cut, size))}
    if len(cuts) == 1:
        raise Skip("there is one row only, which cannot be cut")
    measures = {count: _measure(learner, objective, batches, dtype) for count, batches in cuts.items()}
    large = measures.pop(min(cuts))
    differences = {count: _difference(measure, large) for count, measure in measures.items()}
    worst = max(differences.values(), key=lambda one: max(one.loss, one.gradient))
    numbers = {"micro-batches": sorted(cuts), "loss": large.loss, **_numbers(worst, dtype)}
    if worst.within(dtype):
        return Proof(
            Word.PASSED, "however a step is cut into micro-batches, loss and gradients are the same", numbers
        )
    why = f"a step in several micro-batches is another step than the large batch. {_where(worst)}"
    return Proof(Word.FAILED, f"{why}; keep a step in one: raise train.tokens_per_microbatch", numbers)


def padding(bench: Bench) -> Proof:
    """More padding, of any tokens, does not change the loss."""
    learner, dtype, objective = _learner(bench), bench.exact_dtype, _objective(bench)
    batch = pad_rows(bench.rows, range(bench.rows.num_rows))
    config = _loop_config(dtype)
    losses = {
        extra: mean_loss(learner, objective, [_wider(batch, extra, bench)], config) for extra in (0, 8, 64)
    }
    worst = max(abs(loss - losses[0]) / abs(losses[0]) for loss in losses.values())
    numbers = {"loss": losses[0], "difference": worst, "tolerance": LOSS_TOLERANCE[dtype]}
    if worst <= LOSS_TOLERANCE[dtype]:
        return Proof(Word.PASSED, "tokens of padding behind a row do not change its loss", numbers)
    why = (
        f"64 more tokens of padding change the loss from {losses[0]:.6g} to {losses[64]:.6g}: tokens see what stands "
        "behind them, so this is no causal model, or its attention is not"
    )
    return Proof(Word.FAILED, why, numbers)


def _learner(bench: Bench) -> Learner:
    model = bench.new_model(bench.exact_dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return Learner(model, causal_parts(model), bench.plan.device)


def _objective(bench: Bench) -> Objective:
    """Raises Skip for one that no row alone can be a reference for."""
    objective = make_objective(bench.plan.recipe.objective)
    if objective.rows not in _TOKEN_BY_TOKEN:
        raise Skip(f"{objective.name} compares rows, so its loss is no sum over the tokens of rows alone")
    if objective.teacher is not None:
        raise Skip("distill asks a teacher too; objective=sft shows the arithmetic on the same tokens")
    return objective


def _loop_config(dtype: torch.dtype) -> LoopConfig:
    return LoopConfig(1, 2, 2, clip_norm=math.inf, compute_dtype=dtype)


def _measure(learner: Learner, objective: Objective, batches: Sequence[Batch], dtype: torch.dtype) -> Measure:
    """By the loop's own arithmetic."""
    parameters = _trained(learner.model)
    learner.model.zero_grad(set_to_none=True)
    loss, _ = forward_backward(learner, objective, batches, list(parameters.values()), _loop_config(dtype))
    return Measure(loss, _gradients(parameters))


def _reference(bench: Bench, model: Any) -> Measure:
    """Each row alone through the model as transformers runs it."""
    parameters = _trained(model)
    model.zero_grad(set_to_none=True)
    rows = [bench.rows.row(index) for index in range(bench.rows.num_rows)]
    weight_sum = float(sum(weights[1:].sum(dtype=np.float64) for _, weights in rows))
    total = 0.0
    for ids, row_weights in rows:
        ids_T = torch.from_numpy(ids.astype(np.int64)).to(bench.plan.device)
        weights_T = torch.from_numpy(row_weights).to(bench.plan.device)
        logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[
            0, -len(ids_T) :
        ]  # behind virtual tokens
        losses_T = nn.functional.cross_entropy(logits_TV[:-1], ids_T[1:], reduction="none")
        loss = (losses_T * weights_T[1:]).sum() / weight_sum
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return Measure(total, _gradients(parameters))


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.grad.detach().clone() for name, p in parameters.items() if p.grad is not None}


def _difference(measure: Measure, reference: Measure) -> Difference:
    """A gradient's difference is taken relative to its norm, or to 1% of the whole gradient's where that is more."""
    whole = math.sqrt(sum(float(g.norm()) ** 2 for g in reference.gradients.values()))
    worst, parameter = 0.0, "none"
    for name in measure.gradients.keys() | reference.gradients.keys():
        own, other = measure.gradients.get(name), reference.gradients.get(name)
        if own is None or other is None:
            return Difference(math.inf, math.inf, name)
        apart = float((own - other).norm()) / max(float(other.norm()), 0.01 * whole, 1e-30)
        if not apart <= worst:
            worst, parameter = apart, name
    loss = abs(measure.loss - reference.loss) / max(abs(reference.loss), 1e-30)
    return Difference(loss, worst, parameter)


def _numbers(difference: Difference, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "loss differs by": difference.loss,
        "gradient differs by": difference.gradient,
        "tolerance": f"{LOSS_TOLERANCE[dtype]:g} loss, {GRADIENT_TOLERANCE[dtype]:g} gradient, relative",
    }


def _where(difference: Difference) -> str:
    return (
        f"The loss differs by {difference.loss:.2g} of itself, the gradient by {difference.gradient:.2g} "
        f"at {difference.parameter}"
    )


def _computed(batch: Batch) -> int:
    return batch.token_ids_BT.size if isinstance(batch, MicroBatch) else batch.num_nodes


def _cut(bench: Bench, cut: Cut, size: int) -> Sequence[Batch]:
    return cut(bench.rows, range(bench.rows.num_rows), size)


def _wider(batch: MicroBatch, extra: int, bench: Bench) -> MicroBatch:
    """The batch with more columns of random tokens that nothing is learnt from."""
    vocab_size = len(bench.plan.tokenizer)
    shape = (len(batch.token_ids_BT), extra)
    ids = np.random.default_rng(0).integers(0, vocab_size, shape, dtype=np.int64)
    return replace(
        batch,
        token_ids_BT=np.concatenate([batch.token_ids_BT, ids], axis=1),
        targets_BT=np.pad(batch.targets_BT, ((0, 0), (0, extra))),
        weights_BT=np.pad(batch.weights_BT, ((0, 0), (0, extra))),
    )
