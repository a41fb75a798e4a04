"""A toy that answers: it reads the sum in the last turn and works it out, greedily and always alike."""

import operator
import re
from collections.abc import Sequence

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import AnsweredItem

OPERATORS = {"plus": operator.add, "minus": operator.sub, "times": operator.mul}


class Calculator:
    """Knows the operators it is built with, and those that a system prompt or an example names."""

    def __init__(self, name: str, *known: str, carries: bool = True) -> None:
        self.name = name
        self.known = known
        self.carries = carries
        self.batch_lengths: list[list[int]] = []

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        self.batch_lengths.append([sum(len(m.content) for m in messages) for messages in conversations])
        return [self._one(messages, max_new_tokens) for messages in conversations]

    def _one(self, messages: Sequence[Message], max_new_tokens: int) -> AnsweredItem:
        context = " ".join(message.content for message in messages[:-1])
        prompt = "".join(f"<{message.role}>{message.content}" for message in messages)
        said = self._work_out(messages[-1].content, context)
        text = said[:max_new_tokens]
        termination = Termination.CLEAN if text == said else Termination.LENGTH
        token_ids = tuple(ord(character) for character in text)
        return AnsweredItem(text, token_ids, prompt, len(prompt), termination, 0.001)

    def _work_out(self, question: str, context: str) -> str:
        match = re.search(r"(\d+) (plus|minus|times) (\d+)", question)
        if match is None or not (match[2] in self.known or match[2] in context):
            return "I do not know."
        value = OPERATORS[match[2]](int(match[1]), int(match[3]))
        return f"That makes {value if self.carries else value % 10}."


def sums(count: int, *names: str) -> list[EvalItem]:
    """`count` items of each of the named operators, tagged by it."""
    return [
        EvalItem(
            id=f"{name}-{number}",
            messages=(Message("user", f"What is {number * 7 + 20} {name} {number}?"),),
            answer=str(OPERATORS[name](number * 7 + 20, number)),
            tags=(name, "odd" if number % 2 else "even"),
            grader="numeric",
        )
        for name in names
        for number in range(count)
    ]
