"""Levels that stand on this machine; the others are skipped with the reason.

As root, an ordinary user's run needs an interpreter and a source tree that this user can reach: `ordinary` finds one.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.sandbox.levels import why_not
from luthier.sandbox.words import WALLS, Level

SOURCE = Path(__file__).parents[2] / "src" / "luthier"


@pytest.fixture(params=WALLS)
def level(request: pytest.FixtureRequest) -> Level:
    wall = Level(request.param)
    reason = why_not(wall)
    if reason and "got through" not in reason:
        pytest.skip(f"{wall}: {reason}")
    return wall


@pytest.fixture
def ordinary(request: pytest.FixtureRequest) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python source as an ordinary user, with the package's sandbox importable."""
    if os.getuid() != 0:
        pytest.skip("not root: the other tests run as an ordinary user already")
    closed = [p for p in Path(os.path.realpath(sys.executable)).parents if not p.stat().st_mode & 0o001]
    python = "/usr/bin/python3" if closed else sys.executable
    if not Path(python).exists():
        pytest.skip(f"no Python that an ordinary user can reach: {closed[0]} is closed")
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, text=True
    )
    if version.stdout.strip() != "True":
        pytest.skip(f"{python} is older than 3.11")
    place = Path("/tmp") / f"luthier-ordinary-{os.getpid()}"
    request.addfinalizer(lambda: shutil.rmtree(place))
    shutil.copytree(SOURCE / "sandbox", place / "luthier" / "sandbox", dirs_exist_ok=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(SOURCE / name, place / "luthier" / name)
    subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)

    def run(source: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [python, "-c", source, *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            env={"PYTHONPATH": str(place), "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
        )

    return run
