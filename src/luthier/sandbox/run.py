"""Run one command at a given level: start it, read it, watch its time, memory and files, end it, name the outcome.

The wall's own failure is an error, never an outcome. Knows nothing of how a level is chosen, of tests and of attacks.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from luthier.errors import SandboxError
from luthier.sandbox import process_tree, wall, workspace
from luthier.sandbox.words import Execution, Level, Limits, Outcome

_WATCH_SECONDS = 0.05
_MAX_REPORT_BYTES = 2**12
_STATUS_BYTES = 4096
_MEMORY_ERROR = re.compile(
    r"(\w+\.)*_?(Array)?MemoryError\b|OSError: \[Errno 12\]|fatal error: .*out of memory"
)
_REFUSAL = re.compile(
    r"(PermissionError|OSError|BlockingIOError|\w+\.\w*Error): \[Errno (1|11|13|30|97|99|101)\]"
)


def run_at(
    level: Level,
    argv: list[str],
    *,
    files: Mapping[str, bytes],
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    limits: Limits,
    with_report: bool = False,
) -> Execution:
    """Run `argv` in a fresh workspace that holds `files`, at this level and no other.

    With `with_report` the number of a descriptor is put behind `argv`; what the program writes there is `report`.
    Raises SandboxError where the wall could not be put up: then nothing was run.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(workspace.temporary_folder())
        status, tell_status = _pipe(stack)
        report, tell_report = _pipe(stack)
        reporting = [str(tell_report.fileno())] if with_report else []
        job = wall.job(
            level,
            [*argv, *reporting],
            files=files,
            environment=environment or {},
            limits=limits,
            folder=folder,
        )
        job_file = _read_only_file(stack, json.dumps(job).encode())
        filter_file = _read_only_file(stack, wall.filter_bytes(level))
        inherited = [job_file, filter_file, tell_status, *([tell_report] if with_report else [])]
        started = time.monotonic()
        process = subprocess.Popen(
            wall.command(level, job_file.fileno(), tell_status.fileno(), filter_file.fileno(), limits),
            stdin=_read_only_file(stack, stdin),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"},  # a namespace's first process shows its environment to the program
            pass_fds=[file.fileno() for file in inherited],
            start_new_session=True,
        )
        stack.enter_context(process)
        stack.callback(_end, process)
        tell_status.close()
        tell_report.close()
        watched = _Watched(process, limits, level, folder)
        watched.read(report)
        watched.seconds = time.monotonic() - started
        told = status.read(_STATUS_BYTES) or b""
    if told != b"+" and not watched.stopped:
        error = told.decode(errors="replace").lstrip("+") or watched.text("stderr").strip()
        raise SandboxError(f"the wall '{level}' could not be put up: {error or 'it ended at once'}")
    return watched.execution(process.returncode)


@dataclass
class _Watched:
    """One running process: what was read of it, and why it was stopped if it was."""

    process: subprocess.Popen[bytes]
    limits: Limits
    level: Level
    folder: Path
    seconds: float = 0.0
    stopped: tuple[Outcome, str] | None = None
    read_bytes: dict[str, bytearray] = field(default_factory=dict)
    truncated: bool = False

    def read(self, report: IO[bytes]) -> None:
        """Read until the process has ended or has to be stopped; what exceeds a limit is thrown away."""
        assert self.process.stdout is not None and self.process.stderr is not None
        end = time.monotonic() + self.limits.timeout_seconds
        ended = os.pidfd_open(self.process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(ended, selectors.EVENT_READ, None)
                self._open(selector, "stdout", self.process.stdout)
                self._open(selector, "stderr", self.process.stderr)
                self._open(selector, "report", report)
                self._until_ended(selector, end)
                _end(self.process)
                for key in list(selector.get_map().values()):  # the rest of what was said
                    while key.data is not None and self._take(selector, key.data, key.fd):
                        pass
        finally:
            os.close(ended)

    def _until_ended(self, selector: selectors.BaseSelector, end: float) -> None:
        next_watch = 0.0
        while not self.stopped:
            for key, _ in selector.select(_WATCH_SECONDS):
                if key.data is None:
                    return
                self._take(selector, key.data, key.fd)
            now = time.monotonic()
            if now >= end:
                self.stopped = (Outcome.TIMED_OUT, f"still running after {self.limits.timeout_seconds:g} s")
            elif now >= next_watch:
                self._watch()
                next_watch = now + _WATCH_SECONDS

    def _open(self, selector: selectors.BaseSelector, name: str, source: IO[bytes]) -> None:
        os.set_blocking(source.fileno(), False)
        self.read_bytes[name] = bytearray()
        selector.register(source, selectors.EVENT_READ, name)

    def _take(self, selector: selectors.BaseSelector, name: str, source: int) -> bool:
        try:
            chunk = os.read(source, 2**16)
        except BlockingIOError:
            return False
        if not chunk:
            selector.unregister(source)
            return False
        limit = _MAX_REPORT_BYTES if name == "report" else self.limits.max_output_bytes
        kept = self.read_bytes[name]
        self.truncated |= len(kept) + len(chunk) > limit
        kept += chunk[: limit - len(kept)]
        return True

    def _watch(self) -> None:
        pids = process_tree.descendants(self.process.pid)
        limit = self.limits.max_memory_bytes
        if process_tree.private_bytes(pids) > limit and process_tree.proportional_bytes(pids) > limit:
            self.stopped = (
                Outcome.OUT_OF_MEMORY,
                f"held more than {limit / 2**20:.0f} MiB in all its processes",
            )
        if (
            len(pids) > self.limits.max_processes + 3
        ):  # where the kernel's limit is shared with the user's others
            self.stopped = (Outcome.BLOCKED, f"more than {self.limits.max_processes} processes")
        excess = workspace.excess(self.level, pids, self.folder, self.limits)
        if excess:
            self.stopped = (Outcome.BLOCKED, excess)

    def text(self, name: str) -> str:
        return self.read_bytes.get(name, bytearray()).decode("utf-8", errors="replace")

    def execution(self, status: int) -> Execution:
        """The outcome, from why it was stopped, else from how it ended."""
        code = None if self.stopped else (128 - status if 128 < status <= 192 else status)
        outcome, reason = self.stopped or _ended(code, self.text("stderr"))
        return Execution(
            outcome=outcome,
            exit_code=code,
            stdout=self.text("stdout"),
            stderr=self.text("stderr"),
            seconds=self.seconds,
            level=self.level,
            truncated=self.truncated,
            reason=reason,
            report=self.text("report"),
        )


def _ended(code: int | None, stderr: str) -> tuple[Outcome, str]:
    """The outcome of a program that ended by itself. Its own last words tell a refusal from a mistake."""
    assert code is not None
    if code == 0:
        return Outcome.PASSED, ""
    if code == -signal.SIGXCPU:
        return Outcome.TIMED_OUT, "used up its CPU time"
    if code == -signal.SIGSYS:
        return Outcome.BLOCKED, "a system call of another architecture"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return Outcome.CRASHED, f"ended by signal {name}"
    last = stderr.strip().rpartition("\n")[2]
    if _MEMORY_ERROR.match(last):
        return Outcome.OUT_OF_MEMORY, last
    if _REFUSAL.match(last):
        return Outcome.BLOCKED, last
    return Outcome.FAILED, last or f"exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it is left afterwards. The supervisor goes last, so that orphans still have it as their parent."""
    if process.poll() is None:
        process_tree.kill_descendants(process.pid)
        process.kill()
    process.wait()


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return (
        stack.enter_context(open(reading, "rb", buffering=0)),
        stack.enter_context(open(writing, "wb", buffering=0)),
    )


def _read_only_file(stack: ExitStack, content: bytes) -> IO[bytes]:
    """A file in memory, of no name, that whoever inherits it can only read."""
    with open(os.memfd_create("luthier"), "wb") as file:
        file.write(content)
        file.flush()
        return stack.enter_context(open(f"/proc/self/fd/{file.fileno()}", "rb", buffering=0))
