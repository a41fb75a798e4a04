"""Programs that mean no harm, outcomes, limits, and what is refused."""

import os
import time
from functools import partial

import pytest

from luthier.errors import SandboxError
from luthier.sandbox import execute as execute_module
from luthier.sandbox.candidate import run_tests
from luthier.sandbox.execute import execute, execute_many, required_level
from luthier.sandbox.levels import LevelFinding, find_level
from luthier.sandbox.words import Level, Limits, Outcome


def test_outcomes_are_words(level: Level) -> None:
    short = Limits(timeout_seconds=1)
    programs = {
        Outcome.PASSED: "print(1)",
        Outcome.FAILED: "raise ValueError('no')",
        Outcome.TIMED_OUT: "while True: pass",
        Outcome.OUT_OF_MEMORY: "b'x' * 2**31",
        Outcome.CRASHED: "import os; os.abort()",
        Outcome.BLOCKED: "open('/usr/new', 'w')",
    }
    found = {
        wanted: execute(source, level=level, limits=short if wanted is Outcome.TIMED_OUT else None)
        for wanted, source in programs.items()
    }
    assert {wanted: e.outcome for wanted, e in found.items()} == {wanted: wanted for wanted in programs}
    assert all(e.level is level for e in found.values())
    assert found[Outcome.FAILED].reason == "ValueError: no"
    assert found[Outcome.CRASHED].exit_code == -6
    assert found[Outcome.TIMED_OUT].exit_code is None


def test_files_input_arguments_environment_and_output_come_through(level: Level) -> None:
    source = (
        "import os, sys, helper\n"
        "print(helper.x, open('deep/data.txt').read(), sys.stdin.read(), sys.argv[1:], os.environ['MORE'])\n"
        "print('é', file=sys.stderr)"
    )
    done = execute(
        source,
        level=level,
        files={"helper.py": "x = 5", "deep/data.txt": b"bytes"},
        stdin="words",
        arguments=["a"],
        environment={"MORE": "m"},
    )
    assert (done.outcome, done.stdout, done.stderr) == (Outcome.PASSED, "5 bytes words ['a'] m\n", "é\n")


def test_output_over_the_limit_is_cut_and_said(level: Level) -> None:
    done = execute("print('x' * 100_000)", level=level, limits=Limits(max_output_bytes=1000))
    assert (len(done.stdout), done.truncated, done.outcome) == (1000, True, Outcome.PASSED)


def test_numpy_and_pytest_and_processes_run_inside() -> None:
    wall = find_level().level
    if wall not in (Level.BUBBLEWRAP, Level.NAMESPACES):
        pytest.skip(f"the level here is {wall}")
    source = (
        "import multiprocessing, subprocess, sys, tempfile, threading, numpy, pytest\n"
        "def square(x): return x * x\n"
        "if __name__ == '__main__':\n"
        "    assert float(numpy.linalg.norm(numpy.ones(4))) == 2\n"
        "    with multiprocessing.Pool(2) as pool: assert pool.map(square, [2, 3]) == [4, 9]\n"
        "    with tempfile.TemporaryFile() as f: f.write(b'x')\n"
        "    assert subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True).stdout == b'7\\n'\n"
        "    sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'test_x.py']))\n"
    )
    tests = "import numpy\ndef test_it(tmp_path):\n    assert numpy.arange(3).sum() == 3\n"
    done = execute(source, files={"test_x.py": tests}, limits=Limits(timeout_seconds=60))
    assert done.outcome is Outcome.PASSED, (done.reason, done.stdout, done.stderr)
    assert "1 passed" in done.stdout


def test_tests_decide_about_a_candidate(level: Level) -> None:
    tests = "assert add(1, 2) == 3"
    run = partial(run_tests, tests=tests, level=level)
    assert run("def add(a, b): return a + b").outcome is Outcome.PASSED
    assert run("def add(a, b): return a - b").outcome is Outcome.FAILED
    assert run("").outcome is Outcome.FAILED
    assert run("def add(a b)").outcome is Outcome.FAILED


@pytest.mark.parametrize("ending", ["import os; os._exit(0)", "raise SystemExit(0)"])
def test_ending_early_is_no_pass(level: Level, ending: str) -> None:
    done = run_tests(ending, "assert add(1, 2) == 3", level=level)
    assert (done.outcome, done.exit_code) == (Outcome.FAILED, 0)
    assert "before the last test" in done.reason


def test_many_run_side_by_side_in_order(level: Level) -> None:
    sources = [f"print({index})" for index in range(6)]
    done = list(execute_many([partial(execute, s, level=level) for s in sources], num_workers=3))
    assert [int(e.stdout) for e in done] == list(range(6))


def test_nothing_is_left_in_the_temporary_folder(level: Level, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    try:
        execute("import os; os.makedirs('a/b'); open('a/b/c', 'w').write('x')", level=level)
    except SandboxError as error:
        pytest.skip(str(error))
    assert os.listdir(tmp_path) == []


def test_a_timeout_takes_the_children_along(level: Level) -> None:
    source = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    started = time.monotonic()
    assert execute(source, level=level, limits=Limits(timeout_seconds=1)).outcome is Outcome.TIMED_OUT
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", ".", "a\0b"])
def test_a_name_that_leaves_the_workspace_is_refused(name: str) -> None:
    with pytest.raises(SandboxError, match="relative path"):
        execute("", files={name: "x"}, level=Level.NONE)


def test_without_a_wall_nothing_runs_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = LevelFinding(Level.NONE, {Level.BUBBLEWRAP: "not installed"})
    monkeypatch.setattr(execute_module, "find_level", lambda: nowhere)
    with pytest.raises(SandboxError, match=r"bubblewrap: not installed.*--unsafe-execution"):
        execute("print(1)")
    assert required_level(unsafe=True) is Level.NONE


def test_limits_have_to_be_positive() -> None:
    with pytest.raises(ValueError, match="timeout_seconds"):
        Limits(timeout_seconds=0)
