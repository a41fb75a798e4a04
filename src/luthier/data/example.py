"""What one row says, whatever format it was written in.

A row of any format becomes an `Example`; every tool of this room works on it and every format can be written
from it. Knows nothing of files, of single formats or of tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.chat.messages import Conversation, Message

Kind = Literal["chat", "text", "preference", "feedback", "classification", "extraction", "retrieval"]


@dataclass(frozen=True, slots=True)
class Example:
    """One row.

    kind            what it teaches; `feedback` is one answer with a thumb up or down (KTO)
    conversation    every turn, the answer among them; for `preference` the turns before the two answers; for
                    `text` no turns. Classification asks the text and answers the label; extraction answers with
                    the JSON text; retrieval asks the context, an empty line and the question
    text            the document (`text`), or the text that is classified or extracted from
    chosen, rejected  the two answers (`preference`), each the turns that follow the conversation
    desirable       the thumb (`feedback`)
    label           the class (`classification`)
    context, question  what is given and what is asked (`retrieval`)
    images          paths or URLs, in the order of their marks in the turns
    extra           the row's other fields, as they stood: ids, tags, scores
    """

    kind: Kind
    conversation: Conversation = field(default_factory=lambda: Conversation(()))
    text: str | None = None
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    desirable: bool | None = None
    label: str | None = None
    context: str | None = None
    question: str | None = None
    images: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every turn of the row: of a preference, those of the chosen answer."""
        return (*self.conversation.messages, *self.chosen)

    @property
    def before_answer(self) -> tuple[Message, ...]:
        """The turns before the last answer; all of them where there is no answer."""
        turns = self.messages
        last = self._last_answer
        return turns if last is None else turns[:last]

    @property
    def answer(self) -> Message | None:
        """The last turn of the assistant; of a preference, of the chosen answer."""
        last = self._last_answer
        return None if last is None else self.messages[last]

    @property
    def _last_answer(self) -> int | None:
        turns = self.messages
        return next((i for i in range(len(turns) - 1, -1, -1) if turns[i].role == "assistant"), None)
