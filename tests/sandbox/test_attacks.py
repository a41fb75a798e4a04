"""The attack suite at every level that stands here, as the user of the tests and as an ordinary one."""

import json
import os
import subprocess
from collections.abc import Callable

import pytest

from luthier.sandbox.attack_programs import program_of
from luthier.sandbox.attacks import ATTACKS
from luthier.sandbox.check import findings
from luthier.sandbox.words import WALLS, Level

_SUITE = """
import json, sys
from luthier.sandbox.attacks import ATTACKS
from luthier.sandbox.check import findings
from luthier.sandbox.levels import why_not
level = sys.argv[1]
from luthier.sandbox.words import Level
reason = why_not(Level(level))
found = [] if reason and "got through" not in reason else findings(Level(level), ATTACKS)
print(json.dumps({"reason": reason, "found": [[f.attack.name, f.word, f.evidence] for f in found]}))
"""


def test_there_are_more_than_fifty_attacks_and_each_has_a_program() -> None:
    assert len(ATTACKS) > 50
    assert {program_of(attack.name).stem for attack in ATTACKS} == {"outside", "kernel", "resources"}


def test_every_attack_is_held(level: Level) -> None:
    found = findings(level, ATTACKS)
    assert [(f.attack.name, f.evidence) for f in found if f.word == "through"] == []
    assert len(found) == len(ATTACKS)


@pytest.mark.parametrize(
    "wall", [wall if wall is Level.LANDLOCK else pytest.param(wall, marks=pytest.mark.slow) for wall in WALLS]
)
def test_every_attack_is_held_as_an_ordinary_user(
    wall: Level, ordinary: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    done = ordinary(_SUITE, wall.value)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if not answer["found"]:
        pytest.skip(f"{wall}: {answer['reason']}")
    assert [row for row in answer["found"] if row[1] == "through"] == []
    assert len(answer["found"]) == len(ATTACKS)


_NO_WALL = """
import json, sys
from luthier.sandbox.attacks import ATTACKS
from luthier.sandbox.check import findings
from luthier.sandbox.words import Level
found = findings(Level.NONE, [attack for attack in ATTACKS if attack.name in sys.argv[1:]])
print(json.dumps(sorted(f.attack.name for f in found if f.word == "through")))
"""


def test_without_a_wall_the_attacks_do_get_through(
    request: pytest.FixtureRequest,
) -> None:
    """The suite can fail: at the level `none` the bait is reached."""
    names = sorted(["tcp", "udp", "abstract_socket", "read_secret", "write_outside", "stat_outside"])
    if os.getuid() == 0:
        done = request.getfixturevalue("ordinary")(_NO_WALL, *names)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == names
        return
    found = findings(Level.NONE, [attack for attack in ATTACKS if attack.name in names])
    assert sorted(f.attack.name for f in found if f.word == "through") == names
