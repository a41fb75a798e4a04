"""Short runs: resumed, seeded, saved and loaded, and made to learn one row by heart.

All of them are `run_job` in a temporary folder, in the dtype and on the device of the user's run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from luthier.chat.parse import Answer, Termination
from luthier.models.generate import Sampling, generate
from luthier.training.objectives import make_objective
from luthier.training.selftest.bench import Bench, ChatRow, Proof, Skip, Trained, Word, take

_TOLERANCE = 1e-4  # of logits, relative to the largest: rounding of float32, over all layers
_CUDA_TOLERANCE = 1e-2  # of weights: its sums are not taken in one order
_OVERFIT_STEPS = 40
_OVERFIT_FACTORS = (1, 5, 25)  # of the recipe's learning rate: one row by heart is not what it was chosen for
_SEEN_RATE = 1e-3  # at least, of the one step that has to show in what was saved
_CONSTANT: Mapping[str, Any] = {"schedule": "constant", "warmup_share": 0.0, "final_share": 0.0}
# An average of few steps is still the base, and noise of either kind keeps a row from being learnt by heart.
_PLAIN: Mapping[str, Any] = {"ema_decay": None, "neftune_alpha": None, "gradient_noise": None}
_MORE_TOKENS = 16  # than the answer has, within which a model that has learnt the row stops
_STARTS_AS_BASE = {"LORA", "IA3"}  # PEFT's names of adapters that do nothing before the first step


def resume(bench: Bench) -> Proof:
    """4 steps straight against a run that dies in step 3 and is resumed from the checkpoint after step 2."""
    plan = bench.short(4)
    straight, resumed = bench.train(plan, "straight"), bench.train(plan, "resumed", stop_in_step=3)
    apart = _weights_apart(straight.weights(), resumed.weights())
    losses = {step: (loss, resumed.losses[step]) for step, loss in straight.losses.items()}
    jumps = [step for step, (left, right) in losses.items() if left != right]
    numbers = {
        "losses, straight": list(straight.losses.values()),
        "losses, resumed": [resumed.losses[step] for step in straight.losses],
        "taken up after step": resumed.first_step,
        "weights differ by": apart,
    }
    exact = bench.plan.device.type == "cpu"
    if resumed.first_step == 2 and (not jumps and apart == 0 if exact else apart <= _CUDA_TOLERANCE):
        how = "bit for bit" if apart == 0 else f"to {apart:.2g} (this device does not sum in one order)"
        return Proof(
            Word.PASSED, f"a run that died and was resumed is the run that never stopped, {how}", numbers
        )
    if resumed.first_step != 2:
        why = f"the run was taken up after step {resumed.first_step}; its last checkpoint was written after step 2"
    elif jumps:
        left, right = losses[jumps[0]]
        why = (
            f"the curve jumps: the loss of step {jumps[0]} is {right:.6g} in the resumed run and {left:.6g} in the "
            "straight one. Rows, dropout or optimizer are not what they were at the checkpoint"
        )
    else:
        why = f"the weights differ by {apart:.2g} at the end. The optimizer is not what it was at the checkpoint"
    return Proof(Word.FAILED, f"{why}; do not resume runs of this recipe", numbers)


def seed(bench: Bench) -> Proof:
    """The same seed gives the same weights, another seed gives others."""
    # Two steps of half the rows: another seed takes them in another order.
    batch_size = max(1, bench.rows.num_units // 2)
    first = bench.plan.recipe.train.seed
    plans = [bench.short(2, batch_size=batch_size, seed=one) for one in (first, first, first + 1)]
    runs = [bench.train(plan, f"seed-{number}").weights() for number, plan in enumerate(plans)]
    same, other = _weights_apart(runs[0], runs[1]), _weights_apart(runs[0], runs[2])
    numbers = {"same seed differs by": same, "another seed differs by": other}
    exact = bench.plan.device.type == "cpu"
    if same > (0 if exact else _CUDA_TOLERANCE):
        why = (
            f"two runs with seed {first} give weights that differ by {same:.2g} of their size: something draws random "
            "numbers that the seed does not set"
        )
        return Proof(Word.FAILED, why, numbers)
    if other == 0 and bench.rows.num_units > 1:
        why = f"seed {first} and seed {first + 1} give the same weights: train.seed is not used"
        return Proof(Word.FAILED, why, numbers)
    return Proof(Word.PASSED, "the same seed gives the same weights, and another seed others", numbers)


def adapter(bench: Bench) -> Proof:
    """Untrained, an adapter leaves the base's logits as they are; after a step, what was saved moves them."""
    dtype, device, method = torch.float32, bench.plan.device, bench.plan.recipe.method.name
    base = _logits(bench, bench.base_model(dtype))
    untouched = bench.new_model(dtype)
    kinds = {str(one.peft_type.value) for one in getattr(untouched, "peft_config", {}).values()}
    start = _logits(bench, untouched)
    before, starts_as_base = _apart(start, base), kinds <= _STARTS_AS_BASE
    del untouched
    # A step that rounding to the stored dtype does not undo, and that no average of the weights hides.
    optim = {**_CONSTANT, "learning_rate": max(bench.plan.recipe.optim.learning_rate, _SEEN_RATE)}
    trained = bench.train(bench.short(1, optim=optim, train=_PLAIN), "one-step")
    logits = _logits(bench, trained.load(dtype, device).model)
    after, moved = _apart(logits, base), _apart(logits, start)
    numbers = {"before the first step, logits differ from the base by": before, "after one step": after}
    if starts_as_base and before > _TOLERANCE:
        why = (
            f"before its first step the model's logits differ from the base's by {before:.2g}: the adapter or the "
            "loading changes the model, and training starts from something else"
        )
        return Proof(Word.FAILED, why, numbers)
    if after == 0 or moved == 0 or (starts_as_base and after <= before):
        why = (
            "the saved model answers as the base does, to the last digit, though a step was taken: what was trained "
            "is not applied when it is loaded (names of weights, scale), or the step moved nothing"
        )
        return Proof(Word.FAILED, why, numbers)
    where = "from the base as it is" if starts_as_base else f"from what {method} adds to the base"
    return Proof(Word.PASSED, f"training starts {where}, and one step moves the saved model", numbers)


def save_and_load(bench: Bench) -> Proof:
    """The model in memory after training, and the one that is loaded from what was saved."""
    # In float32, so that an adapter's base, which is not saved, is the same on both sides.
    trained = bench.train(replace(bench.short(2), compute_dtype=torch.float32), "saved")
    stored = _coarsest(trained)
    if not hasattr(trained.model, "peft_config"):
        with torch.no_grad():  # a whole model is rounded to the dtype of its base when it is saved
            for parameter in trained.model.parameters():
                parameter.copy_(parameter.to(stored))
    loaded = trained.load(torch.float32, bench.plan.device)
    apart = _apart(_logits(bench, loaded.model), _logits(bench, trained.model.eval()))
    name = str(stored).removeprefix("torch.")
    numbers = {"logits differ by": apart, "tolerance": _TOLERANCE, "stored in": name}
    if apart <= _TOLERANCE:
        return Proof(
            Word.PASSED, f"saved in {name} and loaded again, the model gives the same logits", numbers
        )
    why = (
        f"the model that is loaded from what was saved gives other logits: they differ by {apart:.2g} of the largest. "
        "Weights were left out, were not applied, or are tied otherwise"
    )
    return Proof(Word.FAILED, why, numbers)


def overfit(bench: Bench) -> Proof:
    """One row by heart: greedy generation gives its answer, and stops."""
    if make_objective(bench.plan.recipe.objective).rows == "text":
        raise Skip("documents have no answer to ask for")
    row = min(bench.chat_rows, key=lambda one: _answer_length(bench, one))
    messages = row.conversation.messages
    number = max(i for i, message in enumerate(messages) if message.token_weight > 0)
    prompt = bench.plan.renderer.prompt(messages[:number], row.conversation.tools)
    ids = bench.rows.row(row.index)[0].tolist()
    expected = bench.plan.renderer.parse(ids[len(prompt) :])
    tried = []
    for factor in _OVERFIT_FACTORS:
        attempt = _learn_by_heart(bench, row, prompt, expected, factor)
        tried.append(attempt)
        if attempt.right(expected):
            break
    best = tried[-1] if tried[-1].right(expected) else min(tried, key=lambda one: one.loss)
    numbers = {
        "row": row.place,
        "steps": _OVERFIT_STEPS,
        "learning rate": best.learning_rate,
        "loss": best.loss,
        "answer": best.answer.text,
        "tokens": len(best.answer.token_ids),
        "ended": best.answer.termination.value,
    }
    if best.right(expected):
        why = f"after {_OVERFIT_STEPS} steps on one row the saved model gives its answer and stops"
        return Proof(Word.PASSED, why, numbers)
    return Proof(Word.FAILED, _not_by_heart(row, best, expected), numbers)


@dataclass(frozen=True)
class _Attempt:
    """One row, learnt at one learning rate: the last loss, and what the saved model then answers."""

    learning_rate: float
    loss: float
    answer: Answer

    def right(self, expected: Answer) -> bool:
        """Is it the answer, and did it end?"""
        return self.answer.text == expected.text and self.answer.termination is not Termination.LENGTH


def _learn_by_heart(
    bench: Bench, row: ChatRow, prompt: list[int], expected: Answer, factor: float
) -> _Attempt:
    rate = bench.plan.recipe.optim.learning_rate * factor
    plan = bench.short(
        _OVERFIT_STEPS,
        rows=take(bench.rows, [row.index]),
        batch_size=1,
        checkpoint_every=_OVERFIT_STEPS,
        optim={**_CONSTANT, "learning_rate": rate},
        train=_PLAIN,
    )
    trained = bench.train(plan, "overfit")
    loaded = trained.load(torch.float32, bench.plan.device)
    sampling = Sampling(max_new_tokens=len(expected.token_ids) + _MORE_TOKENS)
    answer = loaded.renderer.parse(generate(loaded, [prompt], sampling)[0])
    return _Attempt(rate, trained.losses[_OVERFIT_STEPS], answer)


def _not_by_heart(row: ChatRow, best: _Attempt, expected: Answer) -> str:
    if best.answer.text.startswith(expected.text):
        return (
            f"the model learnt the answer of {row.place} and does not stop behind it: the end of turn is not learnt, "
            "or is not what ends a generation"
        )
    after = (
        f"after {_OVERFIT_STEPS} steps on {row.place} alone the loss is {best.loss:.3g} and the model answers"
    )
    said = f"{after} {best.answer.text[:60]!r}; the row has {expected.text[:60]!r}"
    if best.loss < 0.1:
        return f"{said}. A loss near 0 and another answer: what is served is not what was trained"
    return (
        f"{said}. This method and learning rate cannot learn one row: raise optim.learning_rate, or train more "
        "weights (a higher method.rank, lora, full)"
    )


def _answer_length(bench: Bench, row: ChatRow) -> int:
    return int(bench.rows.row(row.index)[1].astype(bool).sum())


@torch.no_grad()
def _logits(bench: Bench, model: Any) -> Tensor:
    """The logits of the first rows, shape (tokens, vocabulary), by the model's own forward pass."""
    rows = [bench.rows.row(index)[0].astype("int64") for index in range(min(2, bench.rows.num_rows))]
    parts = [
        model(input_ids=torch.from_numpy(ids)[None].to(bench.plan.device), use_cache=False).logits[
            0, -len(ids) :
        ]
        for ids in rows
    ]
    return torch.cat(parts).float()


def _apart(logits: Tensor, reference: Tensor) -> float:
    """The largest difference, relative to the largest logit."""
    return float((logits - reference).abs().max() / reference.abs().max())


def _weights_apart(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """The norm of the difference, relative to the norm."""
    if left.keys() != right.keys():
        return float("inf")
    squares = sum(float((left[name].double() - right[name].double()).square().sum()) for name in left)
    size = sum(float(tensor.double().square().sum()) for tensor in left.values())
    return (squares / size) ** 0.5 if size else 0.0


def _coarsest(trained: Trained) -> torch.dtype:
    """The dtype of the saved weights that holds the fewest digits."""
    from safetensors import safe_open

    names = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
    found = []
    for path in sorted(trained.run.model_folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found += [names[file.get_slice(key).get_dtype()] for key in file.keys()]  # noqa: SIM118
    return max(found, key=lambda dtype: torch.finfo(dtype).eps)
