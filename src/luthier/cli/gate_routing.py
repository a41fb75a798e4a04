"""What a new specialist does to the choice between specialists, as a measurement that the gate can ask for.

Imports nothing heavy at its top.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.evaluation.gate import RoutingReport


def routing(
    before: Path | None, after: Path | None, routed: Sequence[str], general: Sequence[str]
) -> "Callable[[], RoutingReport] | None":
    """The measurement, or None where no router is named.

    routed: NAME=FILE, questions of those that both routers know, which neither was trained on; general: files of
    questions that are nobody's. Raises ConfigError where only some of that is named.
    """
    from luthier.errors import ConfigError

    if before is None and after is None and not routed and not general:
        return None
    if before is None or after is None or not routed:
        raise ConfigError(
            "expected the router without the candidate, the one with it, and questions of those who were there before: "
            "--router OLD --next-router NEW --routed NAME=FILE..."
        )

    def measure() -> "RoutingReport":
        from luthier.cli.router import read_all, read_named
        from luthier.data.semantic import open_embedder
        from luthier.evaluation.gate import RoutingReport
        from luthier.serving.router import load_router
        from luthier.serving.router.report import evaluate_router, without_harm

        questions, others = read_named(routed), read_all(general)
        old = evaluate_router(load_router(before, open_embedder), questions, others)
        new = evaluate_router(load_router(after, open_embedder), questions, others)
        return RoutingReport(old.num_questions + old.num_general, tuple(without_harm(old, new)))

    return measure
