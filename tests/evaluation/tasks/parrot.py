"""A model that says what a function makes of the last turn."""

from collections.abc import Callable, Sequence

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.evaluation.runner import AnsweredItem


class Parrot:
    name = "parrot"

    def __init__(self, says: Callable[[str], str]) -> None:
        self._says = says

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        return [
            AnsweredItem(self._says(turns[-1].content), (1,), turns[-1].content, 1, Termination.CLEAN, 0.0)
            for turns in conversations
        ]
