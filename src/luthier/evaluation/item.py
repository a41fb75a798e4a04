"""One question with its criteria. Knows nothing of files, graders or answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.chat.messages import Message


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One question with its criteria. `messages` is the prompt and ends with the turn to answer.

    fields: what a grader reads beside `answer`, `must` and `must_not` (choices, context, rules, ...), as JSON values.
    source: what the item shares with others (a document, a table); items of one source are no independent evidence.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    must: tuple[tuple[str, ...], ...] = ()
    must_not: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    grader: str = "exact"
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    def content(self) -> dict[str, Any]:
        """What makes this item this question: all but the id, the tags and the source, as JSON values."""
        extra: dict[str, Any] = {"fields": dict(self.fields)} if self.fields else {}
        return {
            "messages": [message.to_dict() for message in self.messages],
            "answer": self.answer,
            "must": [list(alternatives) for alternatives in self.must],
            "must_not": list(self.must_not),
            "grader": self.grader,
            **extra,
        }
