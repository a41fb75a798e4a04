"""Questions on topics that the policy excludes, by a classifier that a person's examples have taught.

The classifier is a router whose specialists are the topics: `luthier router train medicine=FILE --general FILE`. It
knows words, not meanings.
"""

from collections.abc import Collection, Iterator

from luthier.errors import ConfigError
from luthier.serving.guards.guard import Hit, Look, Seen
from luthier.serving.router.router import GENERAL, Router


def topics(router: Router, refused: Collection[str], at_least: float) -> Look:
    """Looks at what is asked last, and at the answer. refused: topics, or GENERAL for whatever is none of them.

    Raises ConfigError where a topic is not the router's.
    """
    known = (*router.specialists, GENERAL)
    for name in refused:
        if name not in known:
            raise ConfigError(f"topics.refused: expected some of {', '.join(known)}; got {name!r}")
    columns = [(name, known.index(name)) for name in refused]

    def look(seen: Seen) -> Iterator[Hit]:
        if seen.side == "input" and seen.role != "user":
            return
        if seen.side == "input" and not seen.is_last:
            return
        p_C = router.probabilities([seen.text])[0]
        for name, column in columns:
            if p_C[column] >= at_least:
                yield Hit(f"{p_C[column]:.0%} {name}, from {at_least:.0%} on it is excluded")

    return look
