"""A question on a context, as one turn: the one place that lays it out, for training rows and for what is served.

And the answer that the context does not say: how it is taught, and how it is told. Knows nothing of where contexts
come from.
"""

import re
from collections.abc import Sequence

# What a row without an answer teaches to say, where the row itself says that the question is impossible.
NOT_IN_CONTEXT = "The answer is not in the context."
_SOURCE = r"(?:context|text|passage|document|documents|article|excerpt|source|sources|information|paragraph|material)"
_ABSTAINS = re.compile(
    rf"\b(?:is|are|was|were|does|do|did)(?: not|n't) (?:\w+ ){{0,3}}(?:in|by|from|within) (?:\w+ ){{0,2}}{_SOURCE}\b"
    rf"|\bnot (?:\w+ ){{0,2}}(?:in|by|from|within) (?:the |this |that )?(?:\w+ )?{_SOURCE}\b"
    rf"|\b{_SOURCE} (?:does|do)(?: not|n't) (?:say|mention|contain|state|provide|specify|include|give|answer|tell)"
    r"|\b(?:cannot|can't|can not|could not|couldn't) (?:be )?(?:answer|answered|determined?|found|find)\b"
    r"|\b(?:unanswerable|not answerable|no answer|not enough information|insufficient information)\b"
    r"|\bi (?:do not|don't) know\b"
)
# A long answer that once says "not in the text" of a side matter is an answer all the same.
_MAX_ABSTENTION = 300


def abstains(text: str | None) -> bool:
    """Does an answer say that the context does not hold it? No answer at all says so too."""
    if text is None or not text.strip():
        return True
    plain = " ".join(text[:_MAX_ABSTENTION].lower().replace("’", "'").split())
    return _ABSTAINS.search(plain) is not None


def join_passages(passages: Sequence[str]) -> str:
    """Several passages as one context."""
    return "\n\n".join(passages)


def context_turn(context: str, question: str) -> str:
    """What the user's turn says: the context first, so that questions on the same one share its tokens."""
    return f"{context}\n\n{question}"
