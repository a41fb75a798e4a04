"""`luthier data sample` end to end; the reading in a real pseudo-terminal, in a process of its own."""

import json
import os
import pty
import select
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import DataError


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"question {i}", "completion": f"answer {i}", "system": "Be brief."} for i in range(12)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Terminal:
    """A process that believes it has a terminal: type keys, read what it shows."""

    def __init__(self, arguments: list[str], **environment: str) -> None:
        self.shown = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ.update({"TERM": "xterm", "COLUMNS": "120", **environment})
            os.execv(sys.executable, [sys.executable, "-m", "luthier", "data", "sample", *arguments])

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until the text is shown; it is taken off, so that the next wait is for a later one."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} was not shown: {self.shown!r}")
            self._read(0.2)
        self.shown = self.shown.partition(text)[2]

    def _read(self, seconds: float) -> bool:
        if select.select([self._terminal], [], [], seconds)[0]:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # the other side has closed
                return False
            self.shown += data.decode("utf-8", errors="replace")
            return bool(data)
        return True

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode("utf-8"))

    def kill(self) -> None:
        os.kill(self._pid, 9)
        self.close()

    def close(self) -> int:
        """Read to the end; the exit code."""
        while self._read(5):
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)


def verdicts(record: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == "verdict"]


def test_reading_in_a_terminal_and_going_on_after_a_kill(rows_file: Path, tmp_path: Path) -> None:
    record = tmp_path / "rows.jsonl.review.jsonl"
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, pathlib\np = pathlib.Path(sys.argv[1])\np.write_text(p.read_text().replace('answer', 'BETTER'))\n",
        encoding="utf-8",
    )
    first = Terminal([str(rows_file), "-n", "6"], VISUAL=f"{sys.executable} {editor}", EDITOR="")
    first.wait_for("1 of 6")
    first.wait_for("Be brief.")
    first.wait_for("q quit")
    first.type("a")
    first.wait_for("2 of 6")
    first.wait_for("q quit")
    first.type("n")
    first.wait_for("note")
    first.type("too short\r")
    first.type("r")
    first.wait_for("3 of 6")
    first.wait_for("q quit")
    first.type("b")
    first.wait_for("2 of 6")
    first.wait_for("rejected")
    first.wait_for("q quit")
    first.type("r")
    first.wait_for("3 of 6")
    first.wait_for("q quit")
    first.type("e")
    first.wait_for("4 of 6")
    first.wait_for("q quit")
    first.kill()
    found = verdicts(record)
    assert [one["verdict"] for one in found] == ["accepted", "rejected", "rejected", "edited"]
    assert found[1]["note"] == found[2]["note"] == "too short"
    assert found[3]["edited"]["completion"].startswith("BETTER")

    second = Terminal([str(rows_file), "-n", "6"])
    second.wait_for("4 of 6")
    second.wait_for("q quit")
    second.type("s")
    second.wait_for("5 of 6")
    second.wait_for("q quit")
    second.type("q")
    second.wait_for("3 of 6 read: 1 accepted, 1 rejected, 1 edited; 1 skipped")
    second.wait_for("95% Wilson interval")
    assert second.close() == 0

    told = CliRunner().invoke(app, ["sample", str(rows_file), "--summary", "--json"])
    assert json.loads(told.output)["read"] == 3
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(app, ["sample", str(rows_file), "--apply", "--out", str(out), "--json"])
    assert {key: json.loads(done.output)[key] for key in ("rows", "rejected", "edited")} == {
        "rows": 11, "rejected": 1, "edited": 1
    }  # fmt: skip
    assert "BETTER" in out.read_text(encoding="utf-8")


def test_an_edit_that_is_no_row_is_not_taken(rows_file: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, pathlib\npathlib.Path(sys.argv[1]).write_text('{\"nothing\": 1}')\n", encoding="utf-8"
    )
    screen = Terminal([str(rows_file), "-n", "2"], VISUAL=f"{sys.executable} {editor}", EDITOR="")
    screen.wait_for("q quit")
    screen.type("e")
    screen.wait_for("not taken")
    screen.type("q")
    screen.wait_for("0 of 2 read")
    assert screen.close() == 0
    assert verdicts(tmp_path / "rows.jsonl.review.jsonl") == []


def test_a_sample_is_written_or_printed(rows_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sample.jsonl"
    arguments = ["sample", str(rows_file), "-n", "5", "--out", str(out)]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert set(told) == {"file", "rows", "unreadable", "seed", "out", "sample"} and told["rows"] == 12
    assert set(told["sample"][0]) == {"file", "number", "place", "id", "row"}
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        one["row"] for one in told["sample"]
    ]
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, DataError) and "--force" in str(again.exception)
    assert "5 of 12 rows" in CliRunner().invoke(app, [*arguments, "--force"]).output
    assert not list(tmp_path.glob("*.review.jsonl")), "nothing was read, so there is no record"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs a terminal"),
        (["--apply"], "name the file with --out"),
        (["--summary"], "no such review"),
    ],
)
def test_what_is_missing_is_named(rows_file: Path, arguments: list[str], message: str) -> None:
    error = CliRunner().invoke(app, ["sample", str(rows_file), *arguments]).exception
    assert isinstance(error, DataError) and message in str(error)
