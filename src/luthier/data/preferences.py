"""Preferences and labelled answers as rows of tokens, through the one token path.

    pair_dataset       a chosen and a rejected answer to the same turns: a unit has the rows of both
    comparison_dataset the same two answers, each to be scored as a whole at its last token
    feedback_dataset   one answer with a thumb up or down: a unit is that answer; `beside` it stands a mismatched one

Of each conversation only the answer is learnt; the assistant's earlier turns are not, unless they have a weight.
A unit of which any row is too long is left out whole, or is an error: cut on one side alone, it would compare the
lengths. Knows nothing of files, models and losses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from luthier.chat.messages import Conversation, Message
from luthier.chat.render import Renderer, Rendering
from luthier.data.dataset import RowBuilder, TokenDataset
from luthier.data.example import Example
from luthier.data.units import BETTER, WORSE, Units
from luthier.errors import DataError, LuthierError

PairTooLong = Literal["error", "drop"]
Placed = tuple[str, Example]


class _UnitBuilder:
    """Collects units of rows; one that is too long is refused, or left out and counted."""

    def __init__(self, max_length: int, too_long: PairTooLong) -> None:
        self.rows = RowBuilder()
        self.roles: list[int] = []
        self.ends: list[int] = []
        self.max_length = max_length
        self.too_long = too_long

    def add(self, place: str, sides: Sequence[tuple[int, Sequence[Rendering]]]) -> bool:
        """Add the rows of a unit, by role; False where it was left out."""
        longest = max(len(one.token_ids) for _, renderings in sides for one in renderings)
        if longest > self.max_length:
            if self.too_long == "error":
                raise DataError(
                    f"{place}: {longest} tokens, but data.max_length is {self.max_length}: raise it, or set "
                    "data.too_long to drop (leave such rows out, both answers together)"
                )
            self.rows.num_dropped += 1
            return False
        for role, renderings in sides:
            for one in renderings:
                self.rows.add(one.token_ids, one.weights, place)
                self.roles.append(role)
        self.ends.append(len(self.roles))
        return True

    def build(self) -> TokenDataset:
        units = Units(np.array([0, *self.ends], np.int64), np.array(self.roles, np.int8))
        return replace(self.rows.build(), units=units)


def pair_dataset(
    examples: Iterable[Placed], renderer: Renderer, *, max_length: int, too_long: PairTooLong = "error"
) -> TokenDataset:
    """Rows of `(place, example)` pairs of the kind `preference`. Raises DataError or TemplateError with the place."""
    builder = _UnitBuilder(max_length, too_long)
    for place, example in examples:
        sides = [(BETTER, example.chosen), (WORSE, example.rejected)]
        _refuse_empty(place, example.chosen)
        builder.add(place, [(role, _rendered(place, example, answer, renderer)) for role, answer in sides])
    return builder.build()


def comparison_dataset(
    examples: Iterable[Placed], renderer: Renderer, *, max_length: int, too_long: PairTooLong = "error"
) -> TokenDataset:
    """Pairs, one row for each answer, in which one place counts: what follows the answer's last token.

    A row gets one token more, its last one again: what a model says of it is read where it would be predicted, at the
    answer's true last token. It counts towards `max_length`. Raises DataError or TemplateError with the place.
    """
    builder = _UnitBuilder(max_length, too_long)
    for place, example in examples:
        rows = []
        for role, answer in ((BETTER, example.chosen), (WORSE, example.rejected)):
            ids = answer_ids(place, example, answer, renderer)
            rows.append((role, [Rendering((*ids, ids[-1]), (*[0.0] * len(ids), 1.0))]))
        builder.add(place, rows)
    return builder.build()


def answer_ids(
    place: str, example: Example, answer: Sequence[Message], renderer: Renderer
) -> tuple[int, ...]:
    """The tokens of the turns before an answer and of the answer, as they stood when it was given."""
    return tuple(_rendered(place, example, answer, renderer)[-1].token_ids)


def feedback_dataset(
    examples: Iterable[Placed], renderer: Renderer, *, max_length: int, too_long: PairTooLong = "error"
) -> TokenDataset:
    """Rows of `(place, example)` pairs of the kind `feedback`, with mismatched rows `beside` them.

    The mismatched row of a prompt holds the answer of the row before it, the first one that of the last: what KTO
    estimates its KL term from (arXiv:2402.01306, section 4.1). Where it is longer than `max_length`, its end is cut;
    the answer's first token always fits, since the prompt's own answer did.
    Raises DataError or TemplateError with the place of the row.
    """
    builder = _UnitBuilder(max_length, too_long)
    kept: list[Placed] = []
    for place, example in examples:
        answer = _answer(place, example)
        if example.desirable:
            _refuse_empty(place, [answer])
        role = BETTER if example.desirable else WORSE
        alone = replace(example, conversation=_asked(example))
        if builder.add(place, [(role, _rendered(place, alone, [answer], renderer))]):
            kept.append((place, example))
    dataset = builder.build()
    if len(kept) < 2:
        raise DataError(
            f"{kept[0][0]}: this is the only row; kto needs at least two to estimate its KL term from"
        )
    return replace(dataset, beside=_mismatched(kept, renderer, max_length))


def _mismatched(kept: Sequence[Placed], renderer: Renderer, max_length: int) -> TokenDataset:
    builder = _UnitBuilder(max_length, "error")
    for number, (place, example) in enumerate(kept):
        other_place, other = kept[number - 1]
        alone = replace(example, conversation=_asked(example))
        where = f"{place}, with the answer of {other_place} for the KL term"
        renderings = _rendered(where, alone, [_answer(other_place, other)], renderer)
        cut = [Rendering(one.token_ids[:max_length], one.weights[:max_length]) for one in renderings]
        builder.add(where, [(BETTER, cut)])
    return builder.build()


def _asked(example: Example) -> Conversation:
    return replace(example.conversation, messages=example.before_answer)


def _answer(place: str, example: Example) -> Message:
    if example.answer is None:
        raise DataError(f"{place}: there is no turn of the assistant, so the label is about nothing")
    return example.answer


def _refuse_empty(place: str, answer: Sequence[Message]) -> None:
    if not any(one.content.strip() or one.reasoning or one.tool_calls for one in answer):
        raise DataError(
            f"{place}: the answer to prefer is empty; a model that learns it learns to say nothing. Fill it in, or "
            "remove the row"
        )


def _rendered(
    place: str, example: Example, answer: Sequence[Message], renderer: Renderer
) -> Sequence[Rendering]:
    """The rows of the turns before an answer and the answer; only the answer is learnt."""
    if example.images:
        raise DataError(
            f"{place}: this row shows {len(example.images)} images, which are not trained on; remove it"
        )
    asked = example.conversation
    history = [
        replace(one, weight=0.0) if one.role == "assistant" and one.weight is None else one
        for one in asked.messages
    ]
    try:
        renderings = renderer.render(replace(asked, messages=(*history, *answer)))
    except LuthierError as error:
        raise type(error)(f"{place}: {error}") from error
    learnt = [one for one in renderings if any(weight > 0 for weight in one.weights[1:])]
    if not learnt:
        raise DataError(f"{place}: nothing to learn: no token of an answer is supervised (all weights are 0)")
    return learnt
