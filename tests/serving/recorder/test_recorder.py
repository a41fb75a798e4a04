"""The record: nothing lost, redacted before it is written; where it cannot be written, answers go on."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.chat.messages import Message, ToolCall
from luthier.errors import RegistryError, ServingError
from luthier.serving.protocol import Feedback, Interaction, Usage
from luthier.serving.recorder import SqliteRecorder, find_interaction, read_interactions


def plain(text: str) -> str:
    return text


def asked(id: str, text: str = "What is 2 + 2?", **changes: object) -> Interaction:
    one = Interaction(
        id=id,
        created="2026-11-21T18:00:00.000000+00:00",
        key_id="c572e2a4",
        model="auto",
        specialist="sql@3",
        decision={"word": "chosen", "why": "97% sure", "probabilities": {"sql": 0.97}},
        messages=(Message("system", "Be short."), Message("user", text)),
        prompt=None,
        answers=("4",),
        outcome="answered",
        finish_reasons=("stop",),
        usage=Usage(12, 2, 5),
        first_token_seconds=0.01,
        total_seconds=0.02,
        details={"sources": ["a.md"]},
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def said(id: str, **what: object) -> Feedback:
    return Feedback(id, "2026-11-21T18:01:00+00:00", **what)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.sqlite"


@pytest.fixture
def recorder(path: Path) -> Iterator[SqliteRecorder]:
    one = SqliteRecorder(path, redact=plain)
    yield one
    one.close()


def test_what_is_recorded_is_read_back(recorder: SqliteRecorder, path: Path) -> None:
    call = Message("assistant", "", reasoning="hm", tool_calls=(ToolCall("add", {"a": [1, None]}, "c1"),))
    whole = asked("a", messages=(Message("user", "Grüße 🎻"), call, Message("tool", "3", tool_call_id="c1")))
    raw = asked(
        "b", messages=(), prompt="Once", outcome="cancelled", specialist=None, answers=(), shadow_of="a"
    )
    for one in (whole, raw):
        recorder.record(one)
    assert recorder.feedback(said("a", thumb=-1, correction="3", comment="no")) and recorder.flush()
    first, second = read_interactions(path)
    assert first.interaction == replace(whole, decision=first.interaction.decision)
    assert first.interaction.decision == whole.decision
    assert second.interaction == replace(raw, details=dict(raw.details)) and second.feedback == ()
    assert first.feedback == (said("a", thumb=-1, correction="3", comment="no"),)
    assert (first.thumb, first.correction, first.rating) == (-1, "3", None)


def test_the_file_is_its_owners(recorder: SqliteRecorder, path: Path) -> None:
    recorder.record(asked("a"))
    recorder.flush()
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}


def test_every_text_is_redacted_before_it_is_written(path: Path) -> None:
    secret = "hunter2"
    recorder = SqliteRecorder(path, redact=lambda text: text.replace(secret, "***"))
    call = Message(
        "assistant", secret, reasoning=secret, tool_calls=(ToolCall("f", {secret: [{"k": secret}]}),)
    )
    recorder.record(
        asked(
            "a",
            messages=(Message("user", f"my {secret}"), call),
            prompt=secret,
            answers=(f"so {secret}",),
            model=secret,
            decision={"why": secret},
            details={"x": {secret: (secret,)}},
        )
    )
    assert recorder.feedback(said("a", comment=secret, correction=f"{secret}!"))
    recorder.close()
    with sqlite3.connect(path) as connection:
        dump = "\n".join(connection.iterdump())
    assert secret not in dump and dump.count("***") >= 11
    assert not any(secret.encode() in one.read_bytes() for one in path.parent.iterdir())


def test_what_cannot_be_redacted_is_never_written(path: Path) -> None:
    def redact(text: str) -> str:
        if "bomb" in text:
            raise RecursionError
        return text

    recorder = SqliteRecorder(path, redact=redact)
    for text in ("one", "bomb", "two"):
        recorder.record(asked(text, text))
    recorder.close()
    assert [one.interaction.id for one in read_interactions(path)] == ["one", "two"]
    assert recorder.lost == {"unwritable: RecursionError": 1}


def test_whatever_a_client_sent_can_be_written(recorder: SqliteRecorder, path: Path) -> None:
    odd = ["\ud800", "a\x00b", "'; DROP TABLE interactions; --", "\u202e", "🎻" * 1000, "{}", "[bold]"]
    for i, text in enumerate(odd):
        recorder.record(asked(f"{i}", text, model=text, answers=(text,), details={text: object()}))
    recorder.record(asked("nan", total_seconds=float("nan")))
    assert recorder.flush()
    found = [one.interaction for one in read_interactions(path)]
    assert [one.id for one in found] == [str(i) for i in range(len(odd))]
    assert [one.answers[0] for one in found] == ["?", *odd[1:]]
    assert recorder.lost == {"unwritable: ValueError": 1}


def test_an_id_is_recorded_once(recorder: SqliteRecorder, path: Path) -> None:
    recorder.record(asked("a", "first"))
    recorder.record(asked("a", "second"))
    assert recorder.flush() and recorder.lost == {"id recorded before": 1}
    assert find_interaction(path, "a").interaction.messages[-1].content == "first"


@pytest.mark.parametrize(
    "what",
    [
        {}, {"thumb": 0}, {"thumb": True}, {"thumb": "up"}, {"rating": 0}, {"rating": 6}, {"rating": 4.5},
        {"correction": " "}, {"comment": 3}, {"comment": "x" * 100_001},
    ],
)  # fmt: skip
def test_feedback_that_says_nothing_is_refused(recorder: SqliteRecorder, what: dict[str, object]) -> None:
    recorder.record(asked("a"))
    with pytest.raises(ServingError, match=r"expected|at most"):
        recorder.feedback(said("a", **what))


def test_feedback_on_an_unknown_answer_is_told(recorder: SqliteRecorder) -> None:
    recorder.record(asked("a"))
    for id in ("b", "", "%", "A", "a\x00", "\ud800", "' OR 1=1"):
        assert recorder.feedback(said(id, thumb=1)) is False
    assert recorder.feedback(said("a", thumb=1))
    assert recorder.flush() and recorder.feedback(said("a", rating=5))


def test_who_answered_is_known_at_once_and_later(recorder: SqliteRecorder) -> None:
    recorder.record(asked("a"))
    recorder.record(asked("b", specialist=None))
    recorder.record(asked("c", shadow_of="a"))
    for _ in range(2):
        assert [recorder.specialist_of(id) for id in ("a", "b", "c", "d", "\ud800")] == ["sql@3", *[None] * 4]
        assert recorder.flush()


def test_reading_by_time_specialist_number_and_limit(recorder: SqliteRecorder, path: Path) -> None:
    for i in range(1200):
        name = ("sql@3", "sql@4", "sqlite@1", None)[i % 4]
        recorder.record(
            asked(f"{i:04}", created=f"2026-11-21T{i // 60:02}:{i % 60:02}:00+00:00", specialist=name)
        )
    assert recorder.flush()

    def ids(**asked: object) -> list[int]:
        return [int(one.interaction.id) for one in read_interactions(path, **asked)]  # type: ignore[arg-type]

    assert ids() == list(range(1200)) and ids(limit=3) == [1197, 1198, 1199]
    assert ids(since="2026-11-21T19:58:00") == [1198, 1199]
    assert ids(specialist="sql") == [i for i in range(1200) if i % 4 < 2]
    assert ids(specialist="sql@4", limit=2) == [1193, 1197]
    assert ids(after=1198) == [1198, 1199]
    assert find_interaction(path, "0007").interaction.id == "0007"
    with pytest.raises(RegistryError, match="several interactions begin with '000'"):
        find_interaction(path, "000")
    with pytest.raises(RegistryError, match="no record of interactions"):
        list(read_interactions(path.with_name("other.sqlite")))


def test_a_locked_file_stops_no_answer_and_loses_nothing_that_fits(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = SqliteRecorder(path, redact=plain, max_waiting=50, lock_seconds=0.01)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.perf_counter()
        for i in range(80):
            recorder.record(asked(str(i)))
        assert time.perf_counter() - started < 0.5
        while (
            not caplog.text and time.perf_counter() - started < 20
        ):  # it says one of the two, not both at once
            time.sleep(0.01)
        other.execute("ROLLBACK")
    recorder.close()
    assert len(list(read_interactions(path))) == 50 and recorder.lost == {"queue full": 30}


def test_a_full_disk_stops_no_answer_and_the_loss_is_counted(path: Path) -> None:
    code = """
import resource, signal, sys
from luthier.serving.recorder import SqliteRecorder, read_interactions
from tests.serving.recorder.test_recorder import asked, plain
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
recorder = SqliteRecorder(sys.argv[1], redact=plain)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # as a full disk: writes fail
recorder.record(asked("first")); recorder.flush()
for i in range(40): recorder.record(asked(str(i), "x" * 10_000))
recorder.close(timeout_seconds=0.5)
print(recorder.lost.total(), len(list(read_interactions(sys.argv[1]))))
"""
    done = run(code, path)
    lost, kept = map(int, done.stdout.split())
    assert lost >= 1 and lost + kept == 41, done.stdout
    assert "cannot write" in done.stderr


def test_too_much_text_waits_for_no_memory(path: Path) -> None:
    gate = threading.Event()

    def slow(text: str) -> str:
        gate.wait(10)
        return text

    recorder = SqliteRecorder(path, redact=slow, max_waiting_characters=100_000)
    for i in range(5):
        recorder.record(asked(str(i), "x" * 30_000))
    gate.set()
    recorder.close()
    assert recorder.lost == {"queue full": 2} and recorder.num_waiting == 0
    recorder.record(asked("late"))
    assert recorder.lost["closed"] == 1


def test_nothing_is_lost_on_close_and_little_by_a_kill(path: Path) -> None:
    code = """
import os, signal, sys, time
from luthier.serving.recorder import SqliteRecorder
from tests.serving.recorder.test_recorder import asked, plain
recorder = SqliteRecorder(sys.argv[1], redact=plain)
for i in range(3000):
    recorder.record(asked(str(i)))
    if i % 100 == 0: time.sleep(0.01)
print(i, recorder.num_waiting, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(code, path, returncode=-9)
    last, waiting = map(int, done.stdout.split())
    kept = [int(one.interaction.id) for one in read_interactions(path)]
    assert kept == list(range(len(kept))) and len(kept) >= last + 1 - waiting
    with closing(SqliteRecorder(path, redact=plain)) as recorder:
        for i in range(3000, 8000):
            recorder.record(asked(str(i)))
    assert len(list(read_interactions(path))) == len(kept) + 5000 and not recorder.lost


def run(code: str, path: Path, returncode: int = 0) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == returncode, done.stderr
    return done
