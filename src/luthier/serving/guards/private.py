"""Personal data and secrets, by their form: `luthier.private` knows how they look. Spans, so they can be redacted."""

from collections.abc import Collection, Iterator

from luthier.private import find_secrets
from luthier.serving.guards.guard import Hit, Look, Seen


def private(kinds: Collection[str]) -> Look:
    """Looks for these kinds (`luthier.private.PERSONAL` and `SECRET` name them all)."""
    wanted = frozenset(kinds)

    def look(seen: Seen) -> Iterator[Hit]:
        for found in find_secrets(seen.text):
            if found.kind in wanted:
                yield Hit(found.kind, found.start, found.end)

    return look
