"""Items for the tests of graders."""

from typing import Any

from luthier.chat.messages import Message
from luthier.evaluation.graders.grader import Graded, Grader
from luthier.evaluation.graders.json_text import spell_json
from luthier.evaluation.item import EvalItem


def item(answer: Any = None, grader: str = "", identity: str = "an-item", **fields: Any) -> EvalItem:
    """An item whose gold answer may be a JSON value."""
    text = answer if isinstance(answer, str) or answer is None else spell_json(answer)
    return EvalItem(identity, (Message("user", "What?"),), text, grader=grader, fields=fields)


def graded(grader: Grader, pairs: list[tuple[EvalItem, str]]) -> list[Graded]:
    return [Graded(one, text, grader.grade(one, text)) for one, text in pairs]


def figures(grader: Grader, pairs: list[tuple[EvalItem, str]]) -> dict[str, float]:
    """Each figure over all of its items."""
    import numpy as np

    return {one.name: one.of(np.arange(len(one.over))) for one in grader.figures(graded(grader, pairs))}
