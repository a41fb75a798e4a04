"""Single keys from a terminal, none of them lost: what is typed ahead waits, and arrows are no letters.

Knows nothing of what a key means.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Keys:
    """Within `with`, the terminal hands over each key at once and does not show it."""

    def __init__(self) -> None:
        self._waiting: list[str] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take keys one by one; afterwards the terminal is as it was."""
        try:
            import termios
            import tty
        except ImportError:  # Windows: each key is asked for by itself
            yield
            return
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor, termios.TCSADRAIN)  # drained, not flushed: keys typed ahead are kept
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def next(self) -> str | None:
        """The next key as a small letter; None where the terminal is gone."""
        while not self._waiting:
            typed = self._read()
            if not typed:
                return None
            if not typed.startswith("\x1b"):  # an arrow or another key that sends several signs
                self._waiting += typed.lower()
        return self._waiting.pop(0)

    def _read(self) -> str:
        if os.name == "nt":
            import click

            return click.getchar()
        return os.read(sys.stdin.fileno(), 32).decode("utf-8", errors="ignore")
