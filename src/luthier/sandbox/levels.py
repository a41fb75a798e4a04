"""Which wall holds on this machine: the strongest that stands up and that the probe attacks do not get through.

Asked once per process. No table of versions: a kernel, a container or a policy may take away any part of a wall.
"""

import functools
import sys
from dataclasses import dataclass

from luthier.errors import SandboxError
from luthier.sandbox import check
from luthier.sandbox.attacks import ATTACKS
from luthier.sandbox.words import WALLS, Level


@dataclass(frozen=True, slots=True)
class LevelFinding:
    """The level, and why each stronger one does not hold."""

    level: Level
    missing: dict[Level, str]


@functools.cache
def find_level() -> LevelFinding:
    """Probe the walls, the strongest first (about a second). `Level.NONE` where none holds."""
    missing: dict[Level, str] = {}
    for level in WALLS:
        problem = why_not(level)
        if not problem:
            return LevelFinding(level, missing)
        missing[level] = problem
    return LevelFinding(Level.NONE, missing)


@functools.cache
def why_not(level: Level) -> str:
    """Why this level does not hold here; empty where it does."""
    if sys.platform != "linux":
        return f"needs Linux, this is {sys.platform}"
    try:
        check.require_no_hole(check.findings(level, [attack for attack in ATTACKS if attack.is_probe]))
    except (SandboxError, OSError) as error:
        return str(error)
    return ""
