"""How long a request and an answer may be, in characters and turns."""

from collections.abc import Iterator

from luthier.serving.guards.guard import Hit, Look, Seen


def length(max_input_characters: int, max_output_characters: int, max_turns: int) -> Look:
    """Looks at a request once, at its last turn, and at the answer."""

    def look(seen: Seen) -> Iterator[Hit]:
        if not seen.is_last:
            return
        if seen.side == "output":
            yield from _over(len(seen.text), max_output_characters, "characters")
            return
        yield from _over(len(seen.messages), max_turns, "turns")
        yield from _over(sum(len(turn.content) for turn in seen.messages), max_input_characters, "characters")

    return look


def _over(number: int, limit: int, what: str) -> Iterator[Hit]:
    if number > limit:
        yield Hit(f"{number:,} {what}, at most {limit:,} are allowed")
