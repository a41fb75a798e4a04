"""What a run measures while it trains: the recipe's `evaluation.items`, asked and graded.

Knows nothing of the loop beyond the evaluators that it takes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from luthier.data.places import resolve_file
from luthier.errors import EvaluationError
from luthier.evaluation.answerers.local import ModelAnswerer
from luthier.evaluation.runner import evaluate
from luthier.evaluation.task import load_items
from luthier.models.load import LoadedModel, find_model
from luthier.training.learner import precision
from luthier.training.loop import Evaluator, Measured
from luthier.training.plan import Plan
from luthier.training.tracking import Sample


def task_evaluators(plan: Plan) -> Callable[[Any], Sequence[Evaluator]] | None:
    """The evaluators of a run: its `evaluation.items` asked greedily, or None where the recipe names none.

    Raises EvaluationError at once where the items are wrong, so that no run fails at its first evaluation.
    """
    config = plan.recipe.evaluation
    if config.items is None:
        return None
    items = load_items(resolve_file(config.items))[: config.max_items]
    if not items:
        raise EvaluationError(f"{config.items}: no items")

    def make(model: Any) -> Sequence[Evaluator]:
        source = find_model(plan.recipe.model.name or str(plan.recipe.model.tokenizer))
        loaded = LoadedModel(model, plan.tokenizer, plan.renderer, source, plan.device, plan.compute_dtype)
        answerer = ModelAnswerer(loaded, "in training")

        def measure(_: Any) -> Measured:
            model.eval()
            try:
                with precision(plan.device, plan.compute_dtype):
                    result = evaluate(answerer, items, max_new_tokens=config.max_new_tokens)
            finally:
                model.train()
            asked = {item.id: item for item in items}
            samples = [
                Sample(
                    question=asked[one.id].messages[-1].content,
                    answer=one.answer,
                    expected=asked[one.id].answer or " and ".join(words[0] for words in asked[one.id].must),
                    verdict=one.verdict.value,
                )
                for one in result.items[: config.num_samples]
            ]
            return Measured({"accuracy": result.accuracy}, samples)

        return [measure]

    return make
