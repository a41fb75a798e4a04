"""Extraction as it is annotated: pieces of text with an entity (`data`), and words with tags (`tokens`, `tags`).

Reading makes a text and an object of them. Writing looks the values up in the text; what does not come back as it
was is said to be lost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.data.example import Example
from luthier.data.formats.extraction import answer_object, extraction, extraction_losses, gather, json_text
from luthier.data.formats.fields import has, list_field, said
from luthier.data.formats.format import Format, make_format
from luthier.errors import DataError

_TAGS = ("tags", "ner_tags", "labels")
_PLACES = "entities whose values do not stand in the text, in that order and apart from each other"
_MAX_PLACES = 100
_BEGINS, _ENDS = ("B", "S", "U"), ("S", "U", "E", "L")


def _read_spans(value: Mapping[str, Any]) -> Example:
    pieces = list_field(value, "data")
    found, texts = [], []
    for number, piece in enumerate(pieces, start=1):
        text = piece.get("text") if isinstance(piece, Mapping) else None
        entity = piece.get("entity") if isinstance(piece, Mapping) else None
        if not isinstance(text, str) or not (entity is None or isinstance(entity, str)):
            raise DataError(
                f"field 'data', piece {number}: expected an object with a text and perhaps an entity, got {said(piece)}"
            )
        texts.append(text)
        if entity:
            found.append((entity, text))
    if not "".join(texts).strip():
        raise DataError(
            f"field 'data': expected pieces of a text that is not empty, got {said(value.get('data'))}"
        )
    return extraction(value, "".join(texts), json_text(gather(found)), ("data",))


def _places(example: Example) -> tuple[str | None, str, list[tuple[int, int, str]]]:
    """(system, text, [(start, end, entity)] in the order of the text). Raises DataError where a value is not there.

    Reading names the entities in the order in which they first stand in the text, so each is looked for behind the
    first value of the one before it.
    """
    system, text, found, _ = answer_object(example)
    taken: list[tuple[int, int, str]] = []
    behind = 0
    for entity, values in found.items():
        searched = behind
        for number, one in enumerate(values if isinstance(values, list) else [values]):
            start = _find(text, one, searched, taken)
            if start is None:
                raise DataError(f"the value {said(one)} of {entity!r} does not stand in the text")
            searched = start + len(one)
            behind = searched if number == 0 else behind
            taken.append((start, searched, entity))
    return system, text, sorted(taken)


def _find(text: str, value: Any, start: int, taken: Sequence[tuple[int, int, str]]) -> int | None:
    """Where the value stands from `start` on, apart from what is taken: between spaces, else as words, else at all."""
    if not isinstance(value, str) or not value:
        return None
    found: list[int] = []
    while (start := text.find(value, start)) != -1 and len(found) < _MAX_PLACES:
        if all(start + len(value) <= a or start >= b for a, b, _ in taken):
            found.append(start)
        start += 1

    def tightness(at: int) -> int:
        around = (text[at - 1 : at], text[at + len(value) : at + len(value) + 1])
        return 0 if not "".join(around).strip() else 1 if not any(one.isalnum() for one in around) else 2

    return min(found, key=tightness, default=None)


def _write_spans(example: Example) -> dict[str, Any]:
    system, text, places = _places(example)
    pieces: list[dict[str, str]] = []
    done = 0
    for start, end, entity in places:
        if start > done:
            pieces.append({"text": text[done:start]})
        pieces.append({"text": text[start:end], "entity": entity})
        done = end
    if done < len(text):
        pieces.append({"text": text[done:]})
    return {"data": pieces} | ({} if system is None else {"system": system})


def _tags_of(value: Mapping[str, Any]) -> str | None:
    return next((key for key in _TAGS if key in value), None)


def _read_tags(value: Mapping[str, Any]) -> Example:
    key = _tags_of(value) or "tags"
    tokens, tags = list_field(value, "tokens"), list_field(value, key)
    for name, several in (("tokens", tokens), (key, tags)):
        for number, one in enumerate(several, start=1):
            if not isinstance(one, str):
                hint = "; write the names of the tags, not their numbers" if isinstance(one, int) else ""
                raise DataError(f"field {name!r}, entry {number}: expected a text, got {said(one)}{hint}")
    if len(tokens) != len(tags):
        raise DataError(f"field {key!r}: {len(tags)} tags for {len(tokens)} tokens; expected one each")
    text = " ".join(tokens)
    if not text.strip():
        raise DataError("field 'tokens': expected words, got none")
    answer = json_text(gather((entity, " ".join(words)) for entity, words in _runs(tokens, tags)))
    return extraction(value, text, answer, ("tokens", key))


def _runs(tokens: Sequence[str], tags: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The entities and their words: B-, I- (also E-, L-, S-, U-) and O."""
    runs: list[tuple[str, list[str]]] = []
    open_entity = None
    for token, tag in zip(tokens, tags, strict=True):
        mark, dash, entity = tag.partition("-")
        if tag in ("O", ""):
            open_entity = None
            continue
        if not dash:
            mark, entity = "I", tag
        if mark in _BEGINS or entity != open_entity:
            runs.append((entity, []))
        runs[-1][1].append(token)
        open_entity = None if mark in _ENDS else entity
    return runs


def _write_tags(example: Example) -> dict[str, Any]:
    system, text, places = _places(example)
    tokens = text.split(" ")
    # An entity that begins or ends inside a token cannot be tagged.
    whole = [one for one in places if not (text[: one[0]][-1:] + text[one[1] :][:1]).strip(" ")]
    tags, start = [], 0
    for token in tokens:
        end = start + len(token)
        inside = next(((a, entity) for a, b, entity in whole if a <= start and end <= b and token), None)
        tags.append("O" if inside is None else f"{'B' if inside[0] == start else 'I'}-{inside[1]}")
        start = end + 1
    return {"tokens": tokens, "tags": tags} | ({} if system is None else {"system": system})


def _loses(
    write: Callable[[Example], dict[str, Any]], read: Callable[[Mapping[str, Any]], Example]
) -> Callable[[Example], list[str]]:
    def loses(example: Example) -> list[str]:
        losses = extraction_losses(example)
        if losses:
            return losses
        try:
            back = read(write(example))
        except DataError:
            return [_PLACES]
        return [] if back.conversation == example.conversation else [_PLACES]

    return loses


SPAN_FORMATS: tuple[Format, ...] = (
    make_format(
        "spans",
        "field data, pieces of text of which some have an entity",
        fields=frozenset({"data", "system"}),
        named=has("data"),
        fits=lambda value: (
            isinstance(value["data"], list) and bool(value["data"]) and _is_piece(value["data"][0])
        ),
        read=_read_spans,
        write=_write_spans,
        kinds=frozenset({"extraction", "chat"}),
        loses=_loses(_write_spans, _read_spans),
    ),
    make_format(
        "tags",
        "fields tokens and tags (or ner_tags, labels)",
        fields=frozenset({"tokens", *_TAGS, "system"}),
        named=lambda value: "tokens" in value and _tags_of(value) is not None,
        fits=lambda value: all(_is_list(value[key]) for key in ("tokens", _tags_of(value) or "tags")),
        read=_read_tags,
        write=_write_tags,
        kinds=frozenset({"extraction", "chat"}),
        loses=_loses(_write_tags, _read_tags),
    ),
)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.startswith("["))


def _is_piece(value: Any) -> bool:
    return isinstance(value, Mapping) and "text" in value
