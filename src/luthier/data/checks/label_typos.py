"""Labels that are one label, spelt in two ways.

Two labels are one if only case, spaces or punctuation tell them apart, or if one letter does and one of them is rare
beside the other: `positiv` twice beside `positive` five hundred times is a slip, `moral` beside `amoral` is not.
Labels that differ in a digit are different. Knows nothing of rows.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_LOOKS = re.compile(r"[\s_\-.,;:!?'\"()]+")
_MIN_LETTERS = 5  # shorter words are neighbours by chance
_RARE_SHARE = 0.1
_RARE_ROWS = 2


class Typo(NamedTuple):
    """Two spellings; `rare` has fewer rows."""

    rare: str
    common: str


def find_typos(counts: Mapping[str, int]) -> list[Typo]:
    """Pairs of labels that look like one, the most certain first. `counts`: label -> rows."""
    spellings: dict[str, list[str]] = {}
    for label in counts:
        plain = _LOOKS.sub("", label.casefold())
        if any(c.isalpha() for c in plain):
            spellings.setdefault(plain, []).append(label)
    found = []
    for same in spellings.values():
        common = max(same, key=lambda label: counts[label])
        found += [Typo(label, common) for label in same if label != common]
    totals = {plain: sum(counts[label] for label in same) for plain, same in spellings.items()}
    for one, other in sorted(_neighbours(list(totals))):
        rare, common = sorted((one, other), key=lambda plain: totals[plain])
        slip = totals[rare] <= max(_RARE_ROWS, _RARE_SHARE * totals[common]) and totals[rare] < totals[common]
        if slip and _one_letter_apart(rare, common):
            best = max(spellings[common], key=lambda label: counts[label])
            found += [Typo(label, best) for label in spellings[rare]]
    return found


def _neighbours(words: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs that are equal after a letter is left out of one or of both: every pair one edit apart is among them.

    The letters left out are looked up, not the pairs: n words of m letters cost n * m (SymSpell, Garbe 2012).
    """
    shortened: dict[str, set[str]] = {}
    for word in words:
        if len(word) < _MIN_LETTERS:
            continue
        for variant in {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}:
            shortened.setdefault(variant, set()).add(word)
    pairs = set()
    for group in shortened.values():
        ordered = sorted(group)
        pairs |= {(a, b) for number, a in enumerate(ordered) for b in ordered[number + 1 :]}
    yield from pairs


def _one_letter_apart(first: str, second: str) -> bool:
    """One letter more, less, other, or two neighbours swapped; none of them a digit."""
    start = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    a, b = first[start:], second[start:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    if any(c.isdigit() for c in a + b):
        return False
    return max(len(a), len(b)) <= 1 or (len(a) == 2 and a == b[::-1])
