"""The numbers of a text, as exact values.

What a number is: digits with an optional sign, thousands separators ("1,234.5"), a decimal point or comma
("5,5"; three digits after a comma are thousands), an exponent ("2e3"), a fraction ("3/4", "1 1/2", "½").
Its unit may touch it ("68m"); "68th" is a rank, "10²" a power and "1.2.3" a version, none of them a number.
Number words are not read.
This file knows nothing of items and verdicts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction

from luthier.evaluation.graders.words import WORD_STARTS

_NOT_LONGER = r"(?![0-9]|[.,][0-9])"
_DECIMAL = (
    rf"(?:[0-9]{{1,3}}(?:[,\u00a0\u2009\u202f][0-9]{{3}})+(?:\.[0-9]+)?{_NOT_LONGER}"  # 1,234.5
    rf"|[0-9]{{1,3}}(?:\.[0-9]{{3}})+,[0-9]+{_NOT_LONGER}"  # 1.234,5
    rf"|(?<![0-9],)(?:0,[0-9]+|[0-9]+,[0-9]{{1,2}}){_NOT_LONGER}"  # 5,5
    r"|[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
)
_FRACTION = r"(?:(?P<whole>[0-9]{1,9}) )?(?P<top>[0-9]{1,9})/(?P<bottom>[0-9]{1,9})(?![/.,]?[0-9])"
_NUMBER = re.compile(
    rf"{WORD_STARTS}(?<![0-9]\.)(?P<sign>(?<![\w)\]])[-+])?[$€£¥]?"
    rf"(?:(?<![0-9]/){_FRACTION}|(?P<decimal>{_DECIMAL})(?P<exponent>e[-+]?[0-9]{{1,3}}(?![^\W_]))?)"
    r"(?![0-9]|\.[0-9]|[⁰¹²³⁴-⁹]|(?:st|nd|rd|th)(?![^\W_]))",
    re.IGNORECASE,
)
_LATEX_FRACTION = re.compile(r"([0-9])?\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_VULGAR_FRACTION = re.compile(r"(?:([0-9]) ?)?([¼-¾⅐-⅞↉])")
_MAX_DIGITS = 300
FINAL_ANSWER = "####"


def _spell_fractions(text: str) -> str:
    """Write "5½" and LaTeX fractions as "5 1/2", and the minus sign as a hyphen."""

    def latex(match: re.Match[str]) -> str:
        return f"{match[1]} {match[2]}/{match[3]}" if match[1] else f"{match[2]}/{match[3]}"

    def vulgar(match: re.Match[str]) -> str:
        fraction = unicodedata.normalize("NFKC", match[2])
        return f"{match[1]} {fraction}" if match[1] else fraction

    text = _VULGAR_FRACTION.sub(vulgar, _LATEX_FRACTION.sub(latex, text))
    return text.replace("⁄", "/").replace("−", "-")


def _value(match: re.Match[str]) -> Fraction | None:
    if match["decimal"] is None:
        bottom = int(match["bottom"])
        size = int(match["whole"] or 0) + Fraction(int(match["top"]), bottom) if bottom else None
    else:
        text = re.sub("[\u00a0\u2009\u202f]", "", match["decimal"])
        is_thousands = re.fullmatch(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+", text)
        if re.fullmatch(r"[0-9.]+,[0-9]+", text) and not is_thousands:
            text = text.replace(".", "").replace(",", ".")
        text = text.replace(",", "") + (match["exponent"] or "")
        size = Fraction(text) if len(text) <= _MAX_DIGITS else None
    return -size if size is not None and match["sign"] == "-" else size


def numbers_in(text: str) -> list[Fraction]:
    """Every number of the text, in order, as an exact value."""
    return [value for value, _, _ in _scan(_spell_fractions(text))]


def whole_number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else; None where it is anything more."""
    spelled = _spell_fractions(text.strip())
    for value, start, end in _scan(spelled):
        return value if (start, end) == (0, len(spelled)) and spelled[0] not in "$€£¥" else None
    return None


def _scan(text: str) -> Iterator[tuple[Fraction, int, int]]:
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            yield value, match.start(), match.end()


def final_number(text: str) -> Fraction | None:
    """The last number after the last "####" where there is one, else the last number of the text."""
    numbers = numbers_in(text.rpartition(FINAL_ANSWER)[2])
    return numbers[-1] if numbers else None
