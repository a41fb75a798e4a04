"""Texts as they were meant: what was read in the wrong encoding, letters in two forms, control characters.

Only what is certain is changed. Knows nothing of rows and files.
"""

import codecs
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from luthier.data.checks.encoding import find_control, find_mojibake

REPAIRS = ("mojibake", "control_characters", "not_nfc")
_MAX_TIMES_WRONG = 3
_SLOPPY = "luthier.sloppy-cp1252"
_TERMINAL_COLOUR = re.compile("\x1b\\[[0-9;]{0,20}[A-Za-z]")
# What find_mojibake, which looks for Western letters and marks, passes over: the euro, and runs of letters of other
# scripts. One of those alone could be meant (chanté…” is a word before an ellipsis and a quotation mark).
_CONTINUATION = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_OTHER_SCRIPTS = re.compile(rf"â‚¬|(?:[à-ï][{_CONTINUATION}]{{2}}){{2}}|(?:[Ã-ß][{_CONTINUATION}]){{3}}")
# What find_control finds: C0 without tab, line breaks and form feed; DEL; C1 without NEL.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]")


# Windows-1252 that was read as Latin-1: its quotes, dashes and the euro stand as control characters that no text means.
_FROM_CP1252 = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x85, 0x8D, 0x8F, 0x90, 0x9D)  # undefined there, and NEL
}


def repair_text(text: str) -> tuple[str, tuple[str, ...]]:
    """(the text as it was meant, what was repaired, in the words of REPAIRS)."""
    plain = text.isascii()
    done: list[str] = []
    if not plain and _is_suspect(text):
        meant = _read_again(text).translate(_FROM_CP1252)
        if meant != text:
            text = meant
            done.append("mojibake")
    if find_control(text) is not None:
        text = _CONTROL.sub("", _TERMINAL_COLOUR.sub("", text))
        done.append("control_characters")
    if not plain and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
        done.append("not_nfc")
    return text, tuple(done)


def repair_value(value: Any, done: set[str]) -> Any:
    """A JSON value with every text in it repaired; names of fields stay. Adds what was repaired to `done`.

    The value itself is returned where there was nothing to do.
    """
    if isinstance(value, str):
        text, repairs = repair_text(value)
        done.update(repairs)
        return text if repairs else value
    if isinstance(value, Mapping):
        fields = {key: repair_value(one, done) for key, one in value.items()}
        return fields if any(fields[key] is not value[key] for key in fields) else value
    if isinstance(value, list):
        items = [repair_value(one, done) for one in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _is_suspect(text: str) -> bool:
    return find_mojibake(text) is not None or _OTHER_SCRIPTS.search(text) is not None


def _read_again(text: str) -> str:
    """UTF-8 that was read as Windows-1252 or Latin-1, once or several times, read as UTF-8.

    Certain, because the whole text has to be Windows-1252 whose bytes are UTF-8 from the first to the last: a text
    that was meant so would have to put each accented capital before just the right mark, everywhere.
    """
    for _ in range(_MAX_TIMES_WRONG):
        try:
            meant = text.encode("cp1252", errors=_SLOPPY).decode("utf-8")
        except UnicodeError:
            return text
        text = meant
        if not _is_suspect(text):
            return text
    return text


def _as_latin1(error: UnicodeError) -> tuple[bytes, int]:
    """The five bytes that Windows-1252 leaves open, which readers hand through as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    if any(not 0x80 <= ord(letter) <= 0x9F for letter in letters):
        raise error
    return letters.encode("latin-1"), error.end


codecs.register_error(_SLOPPY, _as_latin1)
