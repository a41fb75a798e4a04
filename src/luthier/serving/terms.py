"""A text as search terms: words in lower case, plurals as their singulars. Knows nothing of what is searched."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
EMPTY_WORDS = frozenset(
    """
    a about an and are as at be been but by can could did do does for from had has have he her his how i if in is it its
    me my no not of on or our she should so some than that the their them then there these they this to was we were what
    when where which who why will with would you your
    """.split()  # noqa: SIM905
)


def terms(text: str) -> list[str]:
    """The words of a text in their order, as they are compared with those of another."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return [singular(word) for word in _WORD.findall(plain.casefold())]


def singular(word: str) -> str:
    """Without the English plural, by the rules of the S stemmer (Harman, How Effective Is Suffixing?, 1991), of which
    the first is kept from short words such as pies."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4 and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    if word.endswith("s") and word[-2] not in "us":
        return word[:-1]
    return word
