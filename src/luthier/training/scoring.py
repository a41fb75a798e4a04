"""Score the answers of a file with a reward model: one score for each answer, read from the one token path.

Knows nothing of screens and of how the model was trained.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.data.example import Example
from luthier.data.formats import read_example, recognise_file
from luthier.data.places import resolve_place
from luthier.data.preferences import answer_ids
from luthier.data.rows import Row
from luthier.data.sources import read_rows
from luthier.errors import DataError
from luthier.models.reward import RewardModel


@dataclass(frozen=True)
class Scored:
    """A row with the scores of its answers: chosen and rejected of a preference, else its only answer as `chosen`."""

    place: str
    chosen: float
    rejected: float | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The row as it is written: `score`, or `chosen`, `rejected` and whether the chosen answer has more."""
        if self.rejected is None:
            return {"place": self.place, "score": self.chosen}
        agrees = self.chosen > self.rejected
        return {"place": self.place, "chosen": self.chosen, "rejected": self.rejected, "agrees": agrees}


def score_file(
    model: RewardModel,
    place: str,
    *,
    batch_size: int = 16,
    format: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Scored]:
    """Score every row of a file: preferences, labelled answers, or conversations with an answer.

    Raises DataError or TemplateError with the place of a row that has no answer or is too long for the model.
    """
    rows = [row for path in resolve_place(place, None) for row in read_rows(path)]
    known = recognise_file((row.value for row in rows), format=format, fields={})
    limit = int(getattr(model.model.config, "max_position_embeddings", 0) or 0)
    done = 0
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        answers = [_answers(row, known.of(row.value), model, limit) for row in some]
        found = iter(model.scores([ids for of_row in answers for ids in of_row]))
        for row, of_row in zip(some, answers, strict=True):
            scores = [next(found) for _ in of_row]
            yield Scored(row.where, scores[0], scores[1] if len(scores) == 2 else None)
        done += len(some)
        progress(done, len(rows))


def _answers(row: Row, format: str | None, model: RewardModel, limit: int) -> Sequence[Sequence[int]]:
    _, example = read_example(row.value, where=row.where, format=format)
    ids = [_ids(row.where, example, model, side) for side in _sides(row.where, example)]
    if limit and max(map(len, ids)) > limit:
        raise DataError(
            f"{row.where}: {max(map(len, ids))} tokens, but this model was made for {limit} positions"
        )
    return ids


def _sides(where: str, example: Example) -> list[str]:
    if example.kind == "preference":
        return ["chosen", "rejected"]
    if example.answer is None:
        raise DataError(
            f"{where}: there is no answer of the assistant to score (this row is of the kind {example.kind})"
        )
    return ["answer"]


def _ids(where: str, example: Example, model: RewardModel, side: str) -> Sequence[int]:
    if side != "answer":
        return answer_ids(where, example, getattr(example, side), model.renderer)
    assert example.answer is not None
    before = replace(example.conversation, messages=example.before_answer)
    return answer_ids(where, replace(example, conversation=before), [example.answer], model.renderer)
