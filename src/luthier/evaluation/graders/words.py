"""Texts as graders compare them: folded, with edges of words, in any script.

This file knows nothing of numbers, items and verdicts.
"""

from __future__ import annotations

import unicodedata

# Letters and digits, but for scripts that put no spaces between words: there every place is a word's edge.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
WORD = rf"[^\W_{_UNSPACED}]"
WORD_STARTS = rf"(?<!{WORD})(?<!{WORD}_)"
WORD_ENDS = rf"(?!{WORD}|_{WORD})"
_SHAPES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "‑": "-"})
_CLOSING = " .,;:!?…。！？"


def fold(text: str) -> str:
    """The text without what never matters: case, spacing, composition, shapes of quotes and dashes."""
    composed = unicodedata.normalize("NFC", text).casefold().translate(_SHAPES)
    return " ".join(unicodedata.normalize("NFC", composed).split())


def plain(text: str) -> str:
    """The folded text without its closing punctuation; a text of nothing else stays."""
    folded = fold(text)
    return folded.rstrip(_CLOSING) or folded


def is_blank(text: str) -> bool:
    """Whether the text has no letter and no digit."""
    return not any(character.isalnum() for character in text)
