"""The machine and the versions a run was made with, for its record.

Versions are read from the installed packages' metadata, so nothing heavy is imported.
This file knows nothing of accelerators: asking for one needs torch.
"""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("luthier", "torch", "transformers", "tokenizers", "peft", "safetensors", "numpy")


def environment() -> dict[str, Any]:
    """Python, platform, cores, memory, package versions, and the git revision of the working folder.

    A package that is absent reads "not installed"; where git has no answer, why.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": _usable_cores(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git": _git(Path.cwd()),
    }


def _usable_cores() -> int:
    """Cores that this process may use, which a container or `taskset` may have made fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path) -> dict[str, str]:
    try:
        revision = _git_line(folder, "rev-parse", "HEAD")
        changes = _git_line(folder, "status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        return {"revision": "git is not installed"}
    except subprocess.TimeoutExpired:
        return {"revision": "git did not answer"}
    except subprocess.CalledProcessError:
        return {"revision": "not a git repository, or one without a commit"}
    return {"revision": revision, "working_tree": "changed" if changes else "clean"}


def _git_line(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()
