"""Text to token ids such that only the template writes control tokens.

A turn may quote `<|im_end|>`; the model must then read those ten characters, not the end of a turn.
Such strings are replaced in the content by private-use characters before the template is rendered.
In the rendered text the two trade places: the quoted string is written out again, and the template's own
control tokens take the private names. A twin of the tokenizer, in which the control tokens are
known only by those names, then encodes everything in one pass, each character in its natural context.
Conversations that quote nothing never meet the twin: the tokenizer itself encodes them.

Knows nothing of roles, templates' shapes or supervision.
"""

import bisect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from luthier.errors import DataError, TemplateError

_PRIVATE_USE_BLOCKS = (0xE000, *range(0xF0000, 0xFF000, 0x2000), *range(0x100000, 0x10E000, 0x2000))
_CONTEXTS = ("\n", "a", ".", ":", "0", "<", ">")


class Encoded(NamedTuple):
    """Token ids with the span of characters [start, end) that each came from."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def first_at(self, char: int) -> int:
        """Index of the first token that starts at this character or later."""
        return next((i for i, (start, _) in enumerate(self.spans) if start >= char), len(self.ids))


@dataclass(frozen=True, slots=True)
class Shield:
    """Private names for the control strings that a conversation quotes, and the tokenizer that knows them."""

    names: Mapping[str, str]
    twin: Any
    twin_to_id: Mapping[int, int]
    forbidden_twin_ids: frozenset[int]
    swap: Mapping[str, str]
    pattern: re.Pattern[str]


class ControlTokens:
    """The control tokens of one tokenizer and template: special tokens, and added tokens the template writes.

    Added tokens that are neither (words and whitespace added to the vocabulary) are ordinary text.
    Raises TemplateError for a tokenizer without a fast backend.
    """

    def __init__(self, tokenizer: Any, template: str) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TemplateError(
                f"{type(tokenizer).__name__} has no tokenizer.json: "
                "load it with AutoTokenizer, which converts it"
            )
        # transformers unsets both on every call; left over from a tokenizer.json they would cut rows.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._shields: dict[int, Shield] = {}
        added = tokenizer.added_tokens_decoder
        self.special_ids = frozenset(int(i) for i, token in added.items() if token.special)
        self.ids: dict[str, int] = {
            token.content: int(i)
            for i, token in added.items()
            if token.special or (token.content in template and not token.content.isspace())
        }
        self._special = {text for text, i in self.ids.items() if i in self.special_ids}
        self._any_pattern = any_of(self.ids)
        self._special_pattern = any_of(self._special)

    def add_special(self, token_id: int) -> None:
        """Count a control token as special though the tokenizer does not flag it (an end of turn)."""
        self._special |= {text for text, i in self.ids.items() if i == token_id}
        self._special_pattern = any_of(self._special)

    def quoted_in(self, value: Any, *, special_only: bool = False) -> bool:
        """Whether a control string stands in any string of this JSON value, keys included."""
        pattern = self._special_pattern if special_only else self._any_pattern
        return any(pattern.search(text) for text in _strings(value))

    def hide(self, value: Any, shield: Shield, *, special_only: bool = False) -> Any:
        """The same JSON value with every control string under its private name."""
        pattern = self._special_pattern if special_only else self._any_pattern
        return map_strings(value, lambda text: pattern.sub(lambda found: shield.names[found[0]], text))

    def shield(self, value: Any) -> Shield:
        """Private names that occur nowhere in this JSON value. Raises DataError if all are taken."""
        taken = {char for text in _strings(value) for char in text if ord(char) >= 0xE000}
        for block in _PRIVATE_USE_BLOCKS:
            if not any(block <= ord(char) < block + len(self.ids) for char in taken):
                if block not in self._shields:
                    self._shields[block] = self._make_shield(block)
                return self._shields[block]
        raise DataError("the conversation uses every block of private-use characters: remove some of them")

    def encode(self, text: str, shield: Shield | None = None) -> Encoded:
        """Ids of a rendered text, with spans in its characters. No special tokens are added around it."""
        if shield is None:
            encoding = _run(self._backend, text)
            return Encoded(encoding.ids, encoding.offsets)
        swapped, starts, swapped_starts = _swap(text, shield)
        encoding = _run(shield.twin, swapped)
        if not shield.forbidden_twin_ids.isdisjoint(encoding.ids):
            raise TemplateError(
                "this tokenizer makes a control token out of plain text, so a turn that quotes one cannot be "
                "encoded: remove the control string from the row"
            )

        def back(char: int) -> int:
            at = bisect.bisect_right(swapped_starts, char) - 1
            limit = starts[at + 1] if at + 1 < len(starts) else len(text)
            return min(starts[at] + char - swapped_starts[at], limit)

        ids = [shield.twin_to_id.get(i, i) for i in encoding.ids]
        return Encoded(ids, [(back(start), back(end)) for start, end in encoding.offsets])

    def encode_continuation(self, text: str, shield: Shield | None = None) -> Encoded:
        """Ids of a text that continues another one, without the space some tokenizers put at a beginning.

        Encoded behind a short context that keeps a token boundary of its own, which is then cut away.
        """
        for context in _CONTEXTS:
            encoded = self.encode(context + text, shield)
            cut = encoded.first_at(len(context))
            clean = all(end <= len(context) for _, end in encoded.spans[:cut])
            if clean and self.decode(encoded.ids[cut:]) == text:
                spans = [(start - len(context), end - len(context)) for start, end in encoded.spans[cut:]]
                return Encoded(encoded.ids[cut:], spans)
        return self.encode(text, shield)

    def decode(self, ids: list[int]) -> str:
        """The text of ids as it stands in the middle of a text, control tokens included."""
        anchor, anchor_text = self._anchor
        text: str = self._backend.decode([anchor, *ids], skip_special_tokens=False)
        return text.removeprefix(anchor_text)

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """Tokens of a single byte where the decoder reads a run of them as a whole (byte fallback)."""
        names = {f"<0x{byte:02X}>": byte for byte in range(256)}
        found = {name: self._backend.token_to_id(name) for name in names}
        a = found["<0x41>"]
        falls_back = a is not None and self.decode([a]) == "A"
        return frozenset(i for i in found.values() if i is not None) if falls_back else frozenset()

    @cached_property
    def _anchor(self) -> tuple[int, str]:
        anchor = self._backend.encode("a", add_special_tokens=False).ids[-1]
        return anchor, self._backend.decode([anchor], skip_special_tokens=False)

    def _make_shield(self, block: int) -> Shield:
        names = {text: chr(block + i) for i, text in enumerate(self.ids)}
        twin = _make_twin(self._backend, names)
        twin_to_id = {}
        for token_id, token in self._backend.get_added_tokens_decoder().items():
            name = names.get(token.content, token.content)
            twin_to_id[twin.token_to_id(name)] = token_id
        for text, name in names.items():
            if [twin_to_id.get(i) for i in twin.encode(name, add_special_tokens=False).ids][-1:] != [
                self.ids[text]
            ]:
                raise TemplateError(
                    f"the tokenizer's normalizer does not let the control token {text!r} be renamed"
                )
        swap = {**names, **{name: text for text, name in names.items()}}
        # A template that escapes its JSON to ASCII writes a private name in this form.
        swap.update({json.dumps(name)[1:-1]: text for text, name in names.items()})
        forbidden = frozenset(i for i in self.ids.values() if i not in twin_to_id)
        return Shield(names, twin, twin_to_id, forbidden, swap, any_of(swap))


def _make_twin(backend: Any, names: Mapping[str, str]) -> Any:
    """A copy of a tokenizer in which each of these added tokens is known by another name only."""
    from tokenizers import Tokenizer

    config = json.loads(backend.to_str())
    config["post_processor"] = None
    for token in config["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    plain = json.dumps(config, ensure_ascii=False)
    model = config["model"]
    if isinstance(model.get("vocab"), dict):
        model["vocab"] = {names.get(text, text): i for text, i in model["vocab"].items()}
        model["unk_token"] = names.get(model.get("unk_token") or "", model.get("unk_token"))
    elif isinstance(model.get("vocab"), list):
        model["vocab"] = [[names.get(piece[0], piece[0]), *piece[1:]] for piece in model["vocab"]]
    try:
        return Tokenizer.from_str(json.dumps(config, ensure_ascii=False))
    except Exception as error:  # tokenizers raises bare Exception
        # A control string that merges lead to cannot be renamed inside the model; encode() guards that case.
        if "vocabulary" not in str(error):
            raise TemplateError(f"the tokenizer cannot be copied: {error}") from error
        return Tokenizer.from_str(plain)


def _swap(text: str, shield: Shield) -> tuple[str, list[int], list[int]]:
    """The text with names and strings swapped, and where each unchanged or swapped piece starts in both."""
    pieces: list[str] = []
    starts: list[int] = [0]
    swapped_starts: list[int] = [0]
    done = length = 0
    for found in shield.pattern.finditer(text):
        for piece, width in (
            (text[done : found.start()], found.start() - done),
            (shield.swap[found[0]], len(found[0])),
        ):
            pieces.append(piece)
            done += width
            length += len(piece)
            starts.append(done)
            swapped_starts.append(length)
    pieces.append(text[done:])
    return "".join(pieces), starts, swapped_starts


def _run(backend: Any, text: str) -> Any:
    # Whoever tokenises with split_special_tokens leaves this switch on in the backend that is shared.
    backend.encode_special_tokens = False
    try:
        return backend.encode(text, add_special_tokens=False)
    except (TypeError, UnicodeEncodeError) as error:
        at = next((i for i, char in enumerate(text) if 0xD800 <= ord(char) < 0xE000), None)
        if at is None:
            raise
        shown = text[max(0, at - 20) : at].encode("utf-8", "backslashreplace").decode()
        raise DataError(
            f"the text holds half of a surrogate pair after {shown!r}: it is not Unicode"
        ) from error


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts, the longest first as tokenizers do; nothing if there are none."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def map_strings(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {map_strings(key, change): map_strings(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_strings(item, change) for item in value]
    return value
