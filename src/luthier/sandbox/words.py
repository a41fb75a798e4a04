"""The words of the sandbox: outcomes, levels, limits, and what one execution left.

Knows nothing of processes.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a program.

    passed         it ended by itself with exit code 0
    failed         it ended by itself with another exit code
    timed_out      it was still running at its time limit, or had used up its CPU time
    out_of_memory  it asked for more memory than it may have
    crashed        a signal ended it: a segmentation fault, an abort, a kill of its own
    blocked        the wall refused something, and that ended it
    """

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    BLOCKED = "blocked"


class Level(StrEnum):
    """Which wall stood, the strongest first.

    bubblewrap  own user, mount, process and network namespaces made by bwrap; seccomp
    namespaces  the same made here, without bwrap; Landlock where the kernel has it; seccomp
    landlock    Landlock and a narrower seccomp filter: no view of its own, no sockets, no chmod
    none        resource limits and a clean environment: no wall
    """

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    NONE = "none"


WALLS = (Level.BUBBLEWRAP, Level.NAMESPACES, Level.LANDLOCK)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. All are for the program with its children, but for the size of one file.

    `max_workspace_bytes` is the space of its folder, and again of shared memory (/dev/shm). At the level
    `landlock` no file system of its own can be made: there it is the limit of one file.
    """

    timeout_seconds: float = 10.0
    max_memory_bytes: int = 512 * 2**20
    max_processes: int = 32
    max_output_bytes: int = 2**20
    max_workspace_bytes: int = 64 * 2**20
    max_files: int = 4096

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Execution:
    """What one execution left. `level` belongs in every record made from it.

    `exit_code` is None where the program was stopped, and minus the signal's number where a signal ended it.
    `stdout` and `stderr` are cut at the limit; `truncated` says so. `reason` says in a sentence why the outcome
    is not `passed`; empty otherwise.
    """

    outcome: Outcome
    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    level: Level
    truncated: bool = False
    reason: str = ""
    report: str = field(default="", repr=False)  # what the program wrote to its report channel, if it had one
