"""A progress bar for verbs that read files: bytes where the size is known, rows where it is not.

It stands on stderr, only where that is a terminal, and only for what takes over two seconds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], None]
_PATIENCE_SECONDS = 2.0


@contextmanager
def progress(what: str, total: float | None = None, *, unit: str = "rows") -> Iterator[Advance]:
    """Yield a function that is told how much more is done, in bytes of `total` or in `unit`s."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    counted = "{task.completed:,.0f} " + unit
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(counted), TimeElapsedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    began = time.monotonic()
    shown = False

    def advance(done: float) -> None:
        nonlocal shown
        if not shown and time.monotonic() - began > _PATIENCE_SECONDS:
            bar.start()
            shown = True
        bar.advance(task, done)

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
