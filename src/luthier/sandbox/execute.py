"""Run programs behind the wall: one, or many with a bounded number of workers.

Knows nothing of tests, tasks and graders.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from luthier.errors import SandboxError
from luthier.sandbox.levels import find_level
from luthier.sandbox.run import run_at
from luthier.sandbox.words import Execution, Level, Limits
from luthier.sandbox.workspace import contents

T = TypeVar("T")
_INSTALL = "apt-get install bubblewrap (or allow user namespaces), or run on another machine"


def execute(
    program: str,
    *,
    arguments: Iterable[str] = (),
    files: Mapping[str, str | bytes] | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    level: Level | None = None,
    unsafe: bool = False,
) -> Execution:
    """Run a Python program in a fresh folder, behind the strongest wall that holds here.

    program: the source; it runs as `main.py` with the interpreter that runs this, and its packages.
    arguments: what the program finds in sys.argv[1:].
    files: more files of its folder, by relative path.
    stdin: what it can read; then the input ends. environment: added to a small clean one.
    limits: see Limits. level: this wall and no other, instead of the strongest.
    unsafe: run without a wall where none holds; the record then says `none`.

    Raises SandboxError where no wall holds and `unsafe` is not given, where the wall cannot be put up, and for a
    file name that leaves the folder. Whatever the program does is an outcome, never an error.
    """
    inputs = contents({"main.py": program, **(files or {})})
    return run_at(
        level or required_level(unsafe=unsafe),
        [sys.executable, "main.py", *arguments],
        files=inputs,
        stdin=stdin.encode(errors="surrogatepass"),
        environment=environment,
        limits=limits or Limits(),
    )


def required_level(*, unsafe: bool = False) -> Level:
    """The level that programs run at. Raises SandboxError where it is `none` and `unsafe` is not given."""
    found = find_level()
    if found.level is Level.NONE and not unsafe:
        reasons = "; ".join(f"{level}: {reason}" for level, reason in found.missing.items())
        raise SandboxError(
            f"no wall holds on this machine, so code that a model wrote is not run ({reasons}). {_INSTALL}. "
            "--unsafe-execution runs it all the same, with your rights"
        )
    return found.level


def execute_many(jobs: Iterable[Callable[[], T]], *, num_workers: int | None = None) -> Iterator[T]:
    """Results of many calls of `execute` or `run_tests`, in order, at most `num_workers` at a time (default: cores).

    Each job is a call without arguments: `functools.partial(execute, program)`.
    """
    with ThreadPoolExecutor(num_workers or os.cpu_count() or 1) as pool:
        yield from pool.map(lambda job: job(), jobs)
