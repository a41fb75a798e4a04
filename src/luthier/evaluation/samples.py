"""Several answers to each item at a temperature, and pass@k of them.

This file knows nothing of code and sandboxes: an answer is right where its grader says so.
"""

from collections.abc import Sequence

from luthier.chat.messages import Message
from luthier.errors import EvaluationError
from luthier.evaluation.answerers.opening import OpenedAnswerer
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import AnsweredItem, Asking, EvalResult
from luthier.evaluation.stats import PassAtK, pass_at_k_of


def by_sampling(answerer: OpenedAnswerer, max_new_tokens: int, temperature: float, seed: int) -> Asking:
    """Answers at a temperature, for `runner.evaluate`. Another seed, another answer."""
    if temperature <= 0:
        raise EvaluationError(
            f"temperature {temperature:g}: at 0 every sample is the same answer; choose one above 0"
        )

    def ask(_: Sequence[EvalItem], prompts: Sequence[Sequence[Message]]) -> Sequence[AnsweredItem]:
        return answerer.sample(prompts, max_new_tokens, temperature, seed)

    return Asking("sampled", ask, temperature, seed)


def pass_at_k_of_results(samples: Sequence[EvalResult], k: int) -> PassAtK:
    """pass@k over results that hold one sample of each item. What could not be graded is no try.

    Raises EvaluationError where the results are not on the same items, or an item has fewer than k graded samples.
    """
    if len({result.items_hash for result in samples}) != 1:
        raise EvaluationError("pass@k takes samples of the same items; these are of different ones, or none")
    tries: dict[str, list[bool]] = {}
    for result in samples:
        for item in result.items:
            graded = tries.setdefault(item.id, [])
            if item.verdict is not VerdictWord.UNGRADABLE:
                graded.append(item.verdict is VerdictWord.PASSED)
    return pass_at_k_of(
        [len(graded) for graded in tries.values()], [sum(graded) for graded in tries.values()], k
    )
