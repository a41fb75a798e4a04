"""Answers that are none: judges are known to give them the best score, so they are never asked.

A lone ":" or "Thought process:" is passed by many models as a right answer (One Token to Fool LLM-as-a-Judge,
arXiv 2507.08794). This file knows nothing of judges.
"""

import unicodedata

_MIN_REPEATED_WORDS = 20

# What opens an answer, and is none when nothing follows. Spaces and marks at the ends do not count.
_OPENERS = """
    thought process | my thought process | solution | the solution is | the answer is | my answer is
    the final answer is | final answer | the correct answer is | here is the answer | here's the answer
    here is the solution | here is my answer | let's solve this problem step by step
    let us solve this problem step by step | let's think step by step | let us think step by step | let me think
    let me think step by step | to solve this problem | step 1 | 解 | 解答 | 答案 | 思考过程 | 让我们一步一步思考
    かいせつ | 解説 | 考え方 | respuesta | solución | proceso de pensamiento | lösung | gedankengang | réponse
    la réponse est | ответ | решение | risposta | resposta | الجواب
"""
# Words that can be an answer: only with a colon behind them they open one.
_OPENERS_WITH_COLON = """
    thoughts | thought | thinking | reasoning | explanation | answer | response | result | conclusion | analysis
    assistant | output | first | antwort
"""


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for line in text.strip().splitlines() for phrase in line.split("|"))


_BARE, _BEFORE_COLON = _phrases(_OPENERS), _phrases(_OPENERS_WITH_COLON)


def degenerate_reason(answer: str, reference: str | None = None) -> str | None:
    """Why an answer is none, in words; None where it may be one. What the reference itself says is an answer."""
    text = answer.strip()
    if not text:
        return "the answer is empty"
    if reference is not None and text.casefold() in reference.casefold():
        return None
    if not any(unicodedata.category(character)[0] in "LN" for character in text):
        return f"the answer has no letter and no digit: {text[:20]!r}"
    opener, has_colon = _without_marks(text)
    if opener in _BARE or (has_colon and opener in _BEFORE_COLON):
        return f"the answer is only an opening: {text[:60]!r}"
    words = text.casefold().split()
    if len(words) >= _MIN_REPEATED_WORDS and len(set(words)) <= 2:
        return f"the answer repeats {' '.join(sorted(set(words)))[:40]!r}: {len(words)} words"
    return None


def _without_marks(text: str) -> tuple[str, bool]:
    """In lower case, with single spaces and no marks at the ends; and whether a colon was among those at the end."""
    words = " ".join(text.casefold().replace("’", "'").split())
    kept = [place for place, character in enumerate(words) if unicodedata.category(character)[0] in "LN"]
    tail = words[kept[-1] + 1 :]
    return words[kept[0] : kept[-1] + 1], ":" in tail or "：" in tail
