"""One question with its criteria. Knows nothing of files, graders or answers."""

from dataclasses import dataclass
from typing import Any

from luthier.chat.messages import Message


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One question with its criteria. `messages` is the prompt and ends with the turn to answer."""

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    must: tuple[tuple[str, ...], ...] = ()
    must_not: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    grader: str = "exact"

    def content(self) -> dict[str, Any]:
        """What makes this item this question: all but the id and the tags, as JSON values."""
        return {
            "messages": [message.to_dict() for message in self.messages],
            "answer": self.answer,
            "must": [list(alternatives) for alternatives in self.must],
            "must_not": list(self.must_not),
            "grader": self.grader,
        }
