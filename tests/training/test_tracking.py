"""What is told of a run: the file, the live bar, the plain lines, and several at once."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.console import Console

from luthier.registry.runs import Run, create_run
from luthier.training.progress import Progress, format_bytes, format_seconds
from luthier.training.tracking import (
    Checkpoint,
    End,
    Evaluation,
    MetricsFile,
    Sample,
    Step,
    Tracker,
    Trackers,
    peak_memory_bytes,
    smooth,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "run", recipe_yaml="{}\n", data_manifest=[])


def step(number: int, loss: float = 2.0) -> Step:
    return Step(
        number, number / 10, loss, 1e-3, 0.5, 100 * number, 40 * number, 1234.5, 1_900_000_000, number * 1.0
    )


EVALUATION = Evaluation(
    5,
    1.25,
    MappingProxyType({"accuracy": 0.5}),
    (
        Sample("How wide?", "68 metres", "68", "passed"),
        Sample("How [bold]high[/bold]?", "\x1b[31mred\x07 \ud800", "16", "failed"),
        Sample("A third?", "not shown", "", "failed"),
    ),
)
END = End(10, "finished", best_step=5, best_validation_loss=1.25, seconds=10.0)


def tell(tracker: Tracker) -> None:
    tracker.start(10)
    for number in range(1, 11):
        tracker.step(step(number))
        if number == 5:
            tracker.evaluation(EVALUATION)
            tracker.checkpoint(Checkpoint(5, "checkpoints/step-5", "best"))
            tracker.message("half way")
    tracker.close(END)


def test_the_metrics_file_holds_every_event(run: Run) -> None:
    tell(MetricsFile(run))
    events = run.read_metrics()
    assert [event["event"] for event in events] == (
        ["start", *["step"] * 5, "evaluation", "checkpoint", "message", *["step"] * 5, "end"]
    )
    assert events[1] == {
        "event": "step", "step": 1, "epoch": 0.1, "loss": 2.0, "learning_rate": 1e-3, "grad_norm": 0.5,
        "tokens": 100, "supervised_tokens": 40, "tokens_per_second": 1234.5,
        "peak_memory_bytes": 1_900_000_000, "seconds": 1.0, "metrics": {},
    }  # fmt: skip
    assert events[6]["metrics"] == {"accuracy": 0.5}
    assert events[6]["samples"][0] == {
        "question": "How wide?", "answer": "68 metres", "expected": "68", "verdict": "passed"
    }  # fmt: skip
    assert events[-1]["status"] == "finished" and events[-1]["best_step"] == 5


def test_without_a_terminal_plain_lines_are_printed() -> None:
    out = io.StringIO()
    tell(Progress(Console(file=out, width=80)))
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert lines[0].startswith("step 1/10 · loss 2.000 · 1,234 tokens/s · 1.9 GB · ")
    assert "evaluation at step 5 · validation loss 1.250 (best so far) · accuracy 0.500" in lines
    assert any("How [bold]high[/bold]?" in line for line in lines)
    assert any("failed, expected: 16" in line for line in lines)
    assert not any("not shown" in line for line in lines)
    assert "half way" in lines
    assert lines[-1] == "finished at step 10/10 · best validation loss 1.250 at step 5 · 10 s"


def test_plain_lines_come_at_five_percent_or_ten_seconds() -> None:
    now = [0.0]
    out = io.StringIO()
    progress = Progress(Console(file=out, width=80), clock=lambda: now[0])
    progress.start(1000)
    for number in range(1, 1001):
        now[0] += 0.1
        progress.step(step(number))
    assert len(out.getvalue().splitlines()) == 20
    assert "step 500/1000" in out.getvalue() and "50 s left" in out.getvalue()
    slow = io.StringIO()
    progress = Progress(Console(file=slow, width=80), clock=lambda: now[0])
    progress.start(1000, first_step=100)
    for number in range(101, 111):
        now[0] += 6.0
        progress.step(step(number))
    assert slow.getvalue().splitlines()[0] == "resumed at step 100/1000"
    assert len(slow.getvalue().splitlines()) == 1 + 5
    assert "1 h 29 min left" in slow.getvalue()


@pytest.mark.parametrize("width", [40, 100])
def test_in_a_terminal_one_bar_lives_and_the_cursor_comes_back(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    tell(Progress(console))
    text = out.getvalue()
    assert "10/10" in text and "validation loss 1.250" in text.replace("\n", " ")
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h"), "the cursor is shown again"
    assert "\x1b[31m" not in text and "\x07" not in text, "an answer cannot steer the terminal"
    assert "68 metres" in text


def test_a_terminal_that_cannot_write_unicode_loses_only_the_signs() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    tell(Progress(Console(file=file, width=80)))
    file.flush()
    assert b"validation loss 1.250" in raw.getvalue()


def test_closing_reaches_every_tracker_even_when_one_fails(run: Run) -> None:
    out = io.StringIO()
    both = Trackers([Progress(Console(file=out, width=80)), MetricsFile(run)])
    both.start(10)
    both.step(step(1))
    run.metrics_path.unlink()
    run.metrics_path.mkdir()
    with pytest.raises(Exception, match="cannot write"):
        both.close(END)
    assert "finished at step" in out.getvalue()


def test_all_trackers_are_told(run: Run) -> None:
    out = io.StringIO()
    tell(Trackers([MetricsFile(run), Progress(Console(file=out, width=80))]))
    assert len(run.read_metrics()) == 15 and "finished at step" in out.getvalue()


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant() -> None:
    assert smooth([]) == []
    assert smooth([3.0] * 5) == pytest.approx([3.0] * 5)
    # By hand: (0.5 * 0.5 * 4 + 0.5 * 2) / (0.5 * 0.5 + 0.5)
    assert smooth([4.0, 2.0], memory=0.5) == pytest.approx([4.0, 2.0 / 0.75])


def test_peak_memory_is_this_programs_and_needs_no_torch() -> None:
    code = (
        "import sys; from luthier.training.tracking import peak_memory_bytes\n"
        "before = peak_memory_bytes(); held = bytearray(80_000_000); after = peak_memory_bytes()\n"
        "assert 60e6 < after - before < 200e6, (before, after)\n"
        "del held; assert peak_memory_bytes() >= after * 0.99\n"
        "import luthier.training.progress, luthier.training.report; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    assert peak_memory_bytes() > 10_000_000


def test_sizes_and_times_read_well() -> None:
    assert [format_bytes(n) for n in (640e6, 1.94e9)] == ["640 MB", "1.9 GB"]
    assert [format_seconds(s) for s in (0.4, 59.6, 125, 3840)] == [
        "0 s",
        "1 min 00 s",
        "2 min 05 s",
        "1 h 04 min",
    ]
