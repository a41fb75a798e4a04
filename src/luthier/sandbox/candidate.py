"""Run tests against code that a model wrote: candidate + tests -> an execution whose outcome is a word.

The candidate and the tests share one namespace, as in code tasks where tests are assertions. A pass has to be earned:
after the last test the harness says a word that it was given, so that a candidate which ends the process early with
exit code 0 has failed. The harness and the candidate are one process: code that searches the interpreter's memory for
that word can forge a pass. Knows nothing of tasks and graders.
"""

import dataclasses
import secrets
import sys
from collections.abc import Mapping

from luthier.sandbox.execute import required_level
from luthier.sandbox.run import run_at
from luthier.sandbox.words import Execution, Level, Limits, Outcome
from luthier.sandbox.workspace import contents

_HARNESS = """
import os, sys
def run():
    word, report = sys.stdin.readline().strip(), int(sys.argv.pop())
    names = {"__name__": "candidate"}
    for file in ("candidate.py", "tests.py"):
        with open(file, encoding="utf-8") as source:
            code = compile(source.read(), file, "exec")
        exec(code, names)
    os.write(report, word.encode())
run()
"""
_ENDED_EARLY = "ended before the last test, with exit code 0"


def run_tests(
    candidate: str,
    tests: str,
    *,
    files: Mapping[str, str | bytes] | None = None,
    limits: Limits | None = None,
    level: Level | None = None,
    unsafe: bool = False,
) -> Execution:
    """Execute the candidate's source, then the tests' source in the same namespace.

    `passed` where both ran to their end; a failed assertion, an exception and an early exit are `failed`. The other
    outcomes, `files`, `limits`, `level`, `unsafe` and the errors are those of `execute`.
    """
    word = secrets.token_hex(16)
    sources = {"main.py": _HARNESS, "candidate.py": candidate, "tests.py": tests}
    done = run_at(
        level or required_level(unsafe=unsafe),
        [sys.executable, "main.py"],
        files=contents({**(files or {}), **sources}),
        stdin=word.encode() + b"\n",
        limits=limits or Limits(),
        with_report=True,
    )
    if done.outcome is Outcome.PASSED and done.report != word:
        return dataclasses.replace(done, outcome=Outcome.FAILED, reason=_ENDED_EARLY)
    return done
