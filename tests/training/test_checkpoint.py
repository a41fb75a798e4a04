"""Checkpoints: torn ones, full disks, and what they remember."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier.errors import CheckpointError
from luthier.training.checkpoint import CheckpointStore, verify
from luthier.training.optim import build_optimizers, build_schedule, set_learning_rate
from tests.training.toys import dropout_model, optim_config, run_loop, same, weights_of

FILES = ("weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def tear(path: Path, how: str) -> None:
    if how == "delete":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "truncate":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 0x15
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["delete", "truncate", "flip"])
@pytest.mark.parametrize("name", FILES)
def test_a_torn_checkpoint_is_passed_over_aloud(name: str, how: str, tmp_path: Path) -> None:
    straight = dropout_model()
    run_loop(tmp_path, straight, num_steps=3)
    tear(tmp_path / "step-00000003" / name, how)
    resumed = dropout_model(seed=9)
    _, tracker = run_loop(tmp_path, resumed, num_steps=3, resume=True)
    assert [kind for kind, _ in tracker.events[:2]] == ["start", "message"]
    assert tracker.of("start") == [(3, 2)]
    assert "step-00000003 is torn" in tracker.of("message")[0]
    assert same(weights_of(resumed), weights_of(straight))
    assert verify(tmp_path / "step-00000003") is None


def test_all_torn_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    run_loop(tmp_path, dropout_model(), num_steps=2)
    for path in tmp_path.glob("step-*"):
        tear(path / "state.json", "truncate")
    with pytest.raises(CheckpointError, match="every checkpoint is torn"):
        run_loop(tmp_path, dropout_model(), num_steps=2, resume=True)


def test_no_checkpoint_yet_starts_at_the_first_step_aloud(tmp_path: Path) -> None:
    result, tracker = run_loop(tmp_path / "new", dropout_model(), num_steps=2, resume=True)
    assert (result.num_steps, tracker.of("start")) == (2, [(2, 0)])
    assert "no checkpoint yet" in tracker.of("message")[0]


def test_only_the_last_are_kept_and_litter_of_a_kill_is_removed(tmp_path: Path) -> None:
    run_loop(tmp_path, dropout_model(), num_steps=5, keep=2)
    assert [path.name for path in CheckpointStore(tmp_path).list()] == ["step-00000004", "step-00000005"]
    (tmp_path / ".step-00000006.abcdef01.tmp").mkdir()
    run_loop(tmp_path, dropout_model(), num_steps=6, keep=2, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005", "step-00000006"]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_group_settings_and_state_survive(name: str, tmp_path: Path) -> None:
    config = optim_config(name=name, beta1=0.7, beta2=0.8, momentum=0.6, weight_decay=0.3)
    model = dropout_model()
    optimizers = build_optimizers(model.named_parameters(), config)
    schedule = build_schedule(config, 10)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizers, schedule(4))
    for optimizer in optimizers:
        optimizer.step()
    store = CheckpointStore(tmp_path)
    store.save(5, model, optimizers, {"tokens": 7})
    other = dropout_model(seed=4)
    fresh = build_optimizers(other.named_parameters(), optim_config(name=name, learning_rate=9.0))
    assert store.load_latest(other, fresh, print) == (5, {"tokens": 7})
    for old, new in zip(optimizers, fresh, strict=True):
        before, after = old.state_dict(), new.state_dict()
        for left, right in zip(before["param_groups"], after["param_groups"], strict=True):
            assert json.loads(json.dumps(left)) == json.loads(json.dumps(right))
        for index, entries in before["state"].items():
            assert all(torch.equal(value, after["state"][index][key]) for key, value in entries.items())


def test_a_checkpoint_of_another_method_or_optimizer_is_refused(tmp_path: Path) -> None:
    run_loop(tmp_path, dropout_model("lora"), num_steps=1)
    with pytest.raises(CheckpointError, match="another model or method"):
        run_loop(tmp_path, dropout_model("full"), num_steps=2, resume=True)
    with pytest.raises(CheckpointError, match="other optimizers"):
        run_loop(tmp_path, dropout_model("lora"), num_steps=2, resume=True, optim=optim_config(name="muon"))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from luthier.training.checkpoint import CheckpointStore
from luthier.errors import CheckpointError
from tests.training.toys import dropout_model, run_loop
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = dropout_model()
store = CheckpointStore(Path(sys.argv[1]))
store.save(1, model, [], {})
store.save_best(model, {"step": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
for write in (lambda: store.save(2, model, [], {}), lambda: store.save_best(model, {"step": 2})):
    try:
        write()
    except CheckpointError as error:
        print("refused:", error)
"""


@pytest.mark.parametrize("limit", [pytest.param(100, marks=pytest.mark.slow), 20_000])
def test_a_full_disk_loses_nothing(limit: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "store"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("refused: cannot write") for line in lines), done
    assert "Free some space" in lines[0] and "step-00000001" in lines[0]
    store = tmp_path / "store"
    assert sorted(path.name for path in store.iterdir()) == ["best", "step-00000001"]
    assert verify(store / "step-00000001") is None
    assert json.loads((store / "best" / "best.json").read_text()) == {"step": 1}
