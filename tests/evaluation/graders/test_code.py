"""code: programs run with their tests behind the wall, and what becomes of them in words."""

import json
import os
import sys
from pathlib import Path

import pytest

from luthier.chat.messages import Message
from luthier.errors import EvaluationError, SandboxError
from luthier.evaluation.graders.code import code, program_of
from luthier.evaluation.graders.grader import Graded
from luthier.evaluation.graders.proof import prove_with
from luthier.evaluation.item import EvalItem
from luthier.evaluation.tasks.definition import load_task
from luthier.sandbox.levels import LevelFinding, find_level
from luthier.sandbox.words import Level
from tests.data.shared import SHARED, needs_shared

GOLD = "def double(n):\n    return 2 * n\n"
ITEM = EvalItem(
    "double",
    (Message("user", "Write double(n)."),),
    GOLD,
    grader="code",
    fields={"tests": "assert double(2) == 4\nassert double(-1) == -2\n"},
)
INTERPRETER_IS_OPEN = all(
    folder.stat().st_mode & 0o001 for folder in Path(os.path.realpath(sys.executable)).parents
)
needs_wall = pytest.mark.skipif(
    find_level().level is Level.NONE, reason=f"no wall holds here: {find_level().missing}"
)


@needs_wall
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (GOLD, "passed"),
        (f"Here it is:\n```python\n{GOLD}```\nUse it well.\n```\ndouble(1)\n```", "passed"),
        ("def double(n):\n    return n\n", "failed"),
        ("```python\ndef double(n:\n```", "failed"),
        ("import sys\nsys.exit(0)\n", "failed"),
        ("while True:\n    pass\n", "timed_out"),
        ("x = bytearray(10**9)\nx = x * 10\n", "out_of_memory"),
        ("", "no_code"),
        ("I cannot do that.", "failed"),
    ],
)
def test_outcomes_are_words_and_the_wall_is_kept(answer: str, outcome: str) -> None:
    verdict = code(3.0, 256 * 2**20)(ITEM, answer)
    assert verdict.details["outcome"] == outcome, verdict.reason
    assert verdict.score == float(outcome == "passed")
    if outcome != "no_code":
        assert verdict.details["level"] == find_level().level
        assert f"wall: {find_level().level}" in verdict.reason
    table = code(3.0, 256 * 2**20).tables([Graded(ITEM, answer, verdict)])
    assert table["outcomes"] == {outcome: 1}


@needs_wall
def test_tests_that_test_nothing_and_rows_without_tests_are_refused() -> None:
    grader = code(5.0, 256 * 2**20)
    prove_with(grader, ITEM)
    empty = EvalItem("none", ITEM.messages, GOLD, grader="code", fields={"tests": "pass\n"})
    with pytest.raises(EvaluationError, match="passes the wrong answer"):
        prove_with(grader, empty)
    with pytest.raises(EvaluationError, match="field 'tests'"):
        prove_with(grader, EvalItem("bare", ITEM.messages, GOLD, grader="code"))
    wrong = EvalItem("wrong", ITEM.messages, "def double(n): return n", grader="code", fields=ITEM.fields)
    with pytest.raises(EvaluationError, match="does not pass its own grader 'code': AssertionError"):
        prove_with(grader, wrong)


def test_the_first_block_that_is_marked_as_python_is_the_program() -> None:
    assert program_of("```\na\n```\n```python\nb\n```\n```py\nc\n```") == "b\n"
    assert program_of("```\na\n```\ntext\n```\nb\n```") == "a\n"
    assert program_of("```python\nx = 1\nand it was cut") == "x = 1\nand it was cut"
    assert program_of("x = 1") == "x = 1"


@pytest.fixture
def no_wall_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A code task on a machine where no wall holds."""
    monkeypatch.setattr("luthier.sandbox.execute.find_level", lambda: LevelFinding(Level.NONE, {}))
    row = {"id": "1", "question": "double(n)?", "answer": GOLD, "tests": ITEM.fields["tests"]}
    (tmp_path / "items.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (tmp_path / "task.yaml").write_text("items: items.jsonl\ngraders: [code]\n", encoding="utf-8")
    return tmp_path / "task.yaml"


def test_where_no_wall_holds_code_is_not_run(no_wall_task: Path) -> None:
    with pytest.raises(SandboxError, match="--unsafe-execution"):
        load_task(no_wall_task)


@pytest.mark.skipif(
    os.getuid() == 0 and not INTERPRETER_IS_OPEN,
    reason="root's programs run as a user who cannot reach Python",
)
def test_where_no_wall_holds_the_flag_runs_code_and_the_record_says_so(no_wall_task: Path) -> None:
    task = load_task(no_wall_task, unsafe_execution=True)
    assert task.graders[0](task.items[0], GOLD).details["level"] == "none"


@needs_wall
@needs_shared
def test_real_problems_prove_themselves(tmp_path: Path) -> None:
    lines = (SHARED / "code" / "mbpp_first_half.jsonl").read_text(encoding="utf-8").splitlines()[:6]
    rows = [json.loads(line) for line in lines]
    items = [
        {
            "id": row["task_id"],
            "question": row["description"],
            "answer": row["prompt"] + row["canonical_solution"],
            "tests": f"{row['test']}\ncheck({row['entry_point']})\n",
        }
        for row in rows
    ]
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (tmp_path / "mbpp.yaml").write_text("items: mbpp.jsonl\ngraders: [code]\n", encoding="utf-8")
    task = load_task(tmp_path / "mbpp.yaml")
    assert len(task.items) == 6
    assert "code block" in task.items[0].messages[-1].content
