"""Run folders: made whole, never overwritten by chance, readable after a crash."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import RunError
from luthier.registry.event_log import append_event, read_events
from luthier.registry.runs import (
    Run,
    RunStatus,
    create_run,
    default_run_name,
    environment,
    list_runs,
    open_run,
)

MANIFEST = [{"path": "train.jsonl", "sha256": "sha256:00", "rows": 3}]


def make(folder: Path, **options: bool) -> Run:
    return create_run(folder, recipe_yaml="method: {name: lora}\n", data_manifest=MANIFEST, **options)


def test_a_new_run_holds_what_was_asked_on_what_and_where(tmp_path: Path) -> None:
    run = create_run(
        tmp_path / "runs" / "rugby-001",
        recipe_yaml="seed: 1\n",
        data_manifest=MANIFEST,
        resolved={"values": {"seed": 1}, "sources": {"seed": "recipe"}},
    )
    assert run.status() is RunStatus.CREATED
    assert run.recipe_path.read_text() == "seed: 1\n"
    assert json.loads(run.data_path.read_text()) == MANIFEST
    assert json.loads(run.resolved_path.read_text())["sources"] == {"seed": "recipe"}
    assert json.loads(run.environment_path.read_text())["versions"]["luthier"]
    assert run.checkpoints_folder.is_dir()
    assert [path.name for path in run.folder.parent.iterdir()] == ["rugby-001"], "nothing is left beside it"
    assert open_run(run.folder) == run


def test_an_existing_run_is_refused_with_its_status_and_the_options(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    run.set_status("interrupted", "Ctrl-C")
    with pytest.raises(RunError, match=r"exists already.*interrupted.*--resume.*--name.*--overwrite"):
        make(tmp_path / "a")
    run.append_metrics({"event": "step", "step": 1})
    assert make(tmp_path / "a", overwrite=True).read_metrics() == []
    assert run.status() is RunStatus.CREATED


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_a_run_is_never_overwritten(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"not a run \(it holds chapter.txt\).*--name"):
        make(tmp_path / "thesis", overwrite=overwrite)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("text")
    with pytest.raises(RunError, match="is a file"):
        make(tmp_path / "file", overwrite=overwrite)


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert make(tmp_path / "new").status() is RunStatus.CREATED


def test_opening_names_what_is_missing_and_the_nearest_run(tmp_path: Path) -> None:
    make(tmp_path / "rugby-001")
    with pytest.raises(RunError, match=r"nothing of this name.*rugby-001"):
        open_run(tmp_path / "rugby-01")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match=r"no recipe.yaml and no status.json"):
        open_run(tmp_path / "other")


def test_running_turns_to_interrupted_when_its_process_is_gone(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from luthier.registry.runs import open_run\n"
        "open_run(Path(sys.argv[1])).set_status('running'); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        assert run.status() is RunStatus.RUNNING
        with pytest.raises(RunError, match=rf"process {other.pid} runs it"):
            run.set_status(RunStatus.RUNNING)
        with pytest.raises(RunError, match=rf"process {other.pid} is running it"):
            make(run.folder, overwrite=True)
        other.kill()
        # Before the parent has waited for it, the dead process is a zombie with a live id.
        for _ in range(200):
            if run.status() is RunStatus.INTERRUPTED:
                break
            time.sleep(0.01)
        assert run.status() is RunStatus.INTERRUPTED
        assert str(other.pid) in str(run.status_record().reason)
    run.set_status(RunStatus.RUNNING)
    assert run.status() is RunStatus.RUNNING


def test_a_process_id_used_again_by_another_program_is_not_the_run(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    run.set_status("running")
    raw = json.loads(run.status_path.read_text())
    run.status_path.write_text(json.dumps({**raw, "process_started": raw["process_started"] - 3600}))
    assert run.status() is RunStatus.INTERRUPTED


def test_a_broken_status_is_an_error_here_and_a_word_in_a_list(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    run.status_path.write_text('{"status": "resting"}')
    with pytest.raises(RunError, match=r"status.json.*created, running.*resting"):
        run.status()
    assert [(s.name, s.status) for s in list_runs(tmp_path)] == [("a", RunStatus.FAILED)]
    assert list_runs(tmp_path / "absent") == []


def test_metrics_survive_a_torn_last_line(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    assert run.read_metrics() == []
    run.append_metrics({"event": "step", "step": 1, "loss": math.nan, "text": "e\u0301 \ud800"})
    with run.metrics_path.open("ab") as file:
        file.write(b'{"event":"step","st')
    assert run.read_metrics() == [{"event": "step", "step": 1, "loss": None, "text": "e\u0301 \ud800"}]
    run.append_metrics({"event": "step", "step": 2})
    assert [event["step"] for event in run.read_metrics()] == [1, 2]


def test_a_broken_line_elsewhere_is_an_error_with_its_number(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    run.metrics_path.write_text('{"step":1}\n{"step":\n{"step":3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2"):
        run.read_metrics()
    run.metrics_path.write_text("[1]\n")
    with pytest.raises(RunError, match=r"line 1: expected one JSON object"):
        run.read_metrics()


@given(cut=st.integers(min_value=0, max_value=200), count=st.integers(min_value=1, max_value=6))
@settings(max_examples=60, deadline=None)
def test_cut_anywhere_the_file_reads_as_whole_events_and_takes_new_ones(
    tmp_path_factory: pytest.TempPathFactory, cut: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    events = [{"event": "step", "step": step, "text": "ü" * step} for step in range(count)]
    for event in events:
        append_event(path, event)
    path.write_bytes(path.read_bytes()[:cut])
    kept = read_events(path)
    assert kept == events[: len(kept)]
    append_event(path, {"event": "end"})
    assert read_events(path) == [*kept, {"event": "end"}]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    assert run.truncate_metrics_after(0) == 0
    for step in range(1, 6):
        run.append_metrics({"event": "step", "step": step})
    run.append_metrics({"event": "message", "text": "after 5"})
    assert run.truncate_metrics_after(3) == 3
    assert [event["step"] for event in run.read_metrics()] == [1, 2, 3]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write.*No space left.*--resume"):
        append_event(Path("/dev/full"), {"event": "step"})


def test_names_count_upward_and_are_safe(tmp_path: Path) -> None:
    assert default_run_name("rugby", tmp_path / "absent") == "rugby-001"
    for name in ("rugby-001", "rugby-007", "rugby-x", "rugby-union-009"):
        (tmp_path / name).mkdir()
    assert default_run_name("rugby", tmp_path) == "rugby-008"
    assert default_run_name("../My Data.v2", tmp_path) == "my-data.v2-001"
    assert default_run_name("///", tmp_path) == "run-001"


def test_the_environment_is_read_without_torch() -> None:
    code = (
        "import json, sys; from luthier.registry.runs import environment\n"
        "found = environment(); assert 'torch' not in sys.modules; print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["cores"] >= 1 and found["memory_bytes"] > 0
    assert found["versions"]["torch"] != "not installed"
    assert "revision" in found["git"]


def test_the_environment_names_the_git_revision_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in environment()["git"]["revision"]
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
    assert len(environment()["git"]["revision"]) == 40
    assert environment()["git"]["working_tree"] == "clean"
    (tmp_path / "file").write_text("two")
    assert environment()["git"]["working_tree"] == "changed"
