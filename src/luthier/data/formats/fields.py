"""Take fields out of rows: every reader's way to a text, a list or an object, and to an error that names the field.

Knows nothing of single formats.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from luthier.errors import DataError

_SHOWN = 60


def has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    """Has a row all these fields?"""
    wanted = frozenset(keys)
    return lambda value: wanted <= value.keys()


def rest(value: Mapping[str, Any], used: Iterable[str | None]) -> dict[str, Any]:
    """The fields that a format does not use."""
    taken = used if isinstance(used, set | frozenset) else set(used)
    return {key: one for key, one in value.items() if key not in taken}


def said(value: Any) -> str:
    """A value for an error message, shortened: "a list of 3", "'Hello ...'"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}..."
    if isinstance(value, Mapping):
        names = ", ".join(repr(str(key)[:_SHOWN]) for key in list(value)[:5])
        return f"an object with {names or 'no fields'}{', ...' if len(value) > 5 else ''}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a huge number"
    return f"{value!r:.{_SHOWN}}"


def text_field(value: Mapping[str, Any], key: str, *, or_empty: bool = False) -> str:
    """A text. Raises DataError where it is missing, no text, or empty."""
    text = value.get(key)
    if not isinstance(text, str) or not (or_empty or text.strip()):
        kind = "a text" if or_empty else "a text that is not empty"
        got = said(text) if key in value else "nothing: the field is missing"
        raise DataError(f"field {key!r}: expected {kind}, got {got}")
    return text


def optional_text(value: Mapping[str, Any], key: str) -> str | None:
    """A text; None where the field is missing or null. Raises DataError for anything else."""
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise DataError(f"field {key!r}: expected a text, got {said(text)}")
    return text


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON text. Raises DataError that begins with `what`, whatever is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{what}: the JSON is nested too deeply") from None
    except ValueError as error:  # json's own error, and a number of too many digits
        raise DataError(f"{what}: expected JSON, got {said(text)} ({error})") from None


def list_field(value: Mapping[str, Any], key: str) -> list[Any]:
    """A list, or its JSON text (which is how a table holds it); empty where missing, null or an empty text."""
    found = value.get(key)
    if found is None or (isinstance(found, str) and not found.strip()):
        return []
    if isinstance(found, str):
        try:
            found = parse_json(found, key)
        except DataError as error:
            raise DataError(f"field {key!r}: expected a list or its JSON text ({error})") from None
    if not isinstance(found, list | tuple):
        raise DataError(f"field {key!r}: expected a list, got {said(value[key])}")
    return list(found)


def found_name(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of `names` that the row has, whatever the case of its letters, as the row writes it."""
    for name in names:
        if name in value:
            return name
    lowered = {key.lower(): key for key in reversed(value)} if isinstance(value, dict) else {}
    return next((lowered[name] for name in names if name in lowered), None)


def parse_fields(given: str | Iterable[str]) -> dict[str, str]:
    """`--fields` as {the file's name: the format's name}, from "prompt=frage,completion=antwort" or several such.

    Raises DataError for anything that is no NEW=OLD and for a name that is given twice.
    """
    names: dict[str, str] = {}
    for part in (part for text in ([given] if isinstance(given, str) else given) for part in text.split(",")):
        new, equals, old = (piece.strip() for piece in part.partition("="))
        if not (new and equals and old):
            raise DataError(f"--fields {part.strip()!r}: expected NEW=OLD, as in prompt=question_text")
        if old in names or new in names.values():
            raise DataError(f"--fields: {old if old in names else new!r} is named twice")
        names[old] = new
    return names
