"""Does an answer rest on the context that it was given? By words and numbers alone, which is weak.

What is counted: the share of the answer's words with a meaning that stand in the context or in the question, and each
of its numbers. Found are inventions. Not found are false combinations of true words and a "not" too many; and what is
said rightly in quite other words is found wrongly. That the context does not say it is a grounded answer.
"""

import re
from collections.abc import Iterator

from luthier.chat.context import abstains
from luthier.serving.guards.guard import Hit, Look, Seen
from luthier.serving.terms import EMPTY_WORDS, terms

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_NUMBERS_SHOWN = 5


def groundedness(at_least: float) -> Look:
    """Looks at answers that have a context."""

    def look(seen: Seen) -> Iterator[Hit]:
        if seen.side == "input" or not seen.context or abstains(seen.text):
            return
        there = f"{seen.context}\n{seen.question}"
        if missing := sorted(_numbers(seen.text) - _numbers(there)):
            shown = ", ".join(f"{number:g}" for number in missing[:_NUMBERS_SHOWN])
            yield Hit(f"numbers that are not in the context: {shown}")
        if (share := overlap(seen.text, there)) < at_least:
            yield Hit(f"{share:.0%} of its words are in the context, expected {at_least:.0%}")

    return look


def overlap(answer: str, there: str) -> float:
    """The share of the answer's words with a meaning that stand there; 1 where it has none."""
    known = set(terms(there))
    words = [word for word in terms(answer) if word not in EMPTY_WORDS and not word.isdigit()]
    return sum(word in known for word in words) / len(words) if words else 1.0


def _numbers(text: str) -> set[float]:
    return {float(number.replace(",", "")) for number in _NUMBER.findall(text)}
