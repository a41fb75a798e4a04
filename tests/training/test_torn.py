"""Whatever is done to the newest checkpoint, the one before is used, aloud, and the curve is the straight one."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import CheckpointError
from luthier.training.checkpoint import CheckpointStore, verify
from luthier.training.optim import build_optimizers
from tests.training.torn import FILES, TEARS
from tests.training.toys import Memory, dropout_model, optim_config, run_loop, same, weights_of

LAST, BEFORE = "step-00000003", "step-00000002"


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Memory]:
    """A run of three steps with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("torn") / "checkpoints"
    model = dropout_model("lora")
    _, told = run_loop(folder, model, num_steps=3)
    return folder, weights_of(model), told


class Restorer:
    """Restores checkpoints into one model over and over: a thousand states in a minute."""

    def __init__(self) -> None:
        self.model = dropout_model("lora", seed=9)
        self.optimizers = build_optimizers(self.model.named_parameters(), optim_config())

    def __call__(self, folder: Path) -> tuple[int, list[str]]:
        said: list[str] = []
        restored = CheckpointStore(folder).load_latest(self.model, self.optimizers, said.append)
        return (restored[0] if restored else 0), said


def one_state(straight: Path, folder: Path, number: int, restore: Restorer) -> None:
    pick = random.Random(number)
    name = list(TEARS)[number % len(TEARS)]
    shutil.copytree(straight, folder)
    TEARS[name](folder / LAST, pick)
    step, said = restore(folder)
    assert step == 2, (name, number, said)
    if name == "never_renamed":  # then there is nothing of that name that could be torn
        assert said == []
    else:
        assert len(said) == 1 and said[0].startswith(f"checkpoint {LAST} is torn ("), (name, number, said)
        assert said[0].endswith("using the one before it"), said
    assert {path.name for path in folder.iterdir()} <= {"step-00000001", BEFORE, f"{LAST}.torn"}, name
    shutil.rmtree(folder)


def test_torn_states(straight: tuple[Path, Any, Memory], tmp_path: Path) -> None:
    restore = Restorer()
    for number in range(3 * len(TEARS)):
        one_state(straight[0], tmp_path / "state", number, restore)


@pytest.mark.slow
def test_a_thousand_torn_states(straight: tuple[Path, Any, Memory], tmp_path: Path) -> None:
    restore = Restorer()
    for number in range(1000):
        one_state(straight[0], tmp_path / "state", 1000 + number, restore)


@pytest.mark.parametrize("name", TEARS)
def test_resumed_from_the_one_before_it_is_the_straight_run(
    name: str, straight: tuple[Path, Any, Memory], tmp_path: Path
) -> None:
    folder, weights, told = straight
    shutil.copytree(folder, tmp_path / "state")
    TEARS[name](tmp_path / "state" / LAST, random.Random(5))
    model = dropout_model("lora", seed=9)
    _, second = run_loop(tmp_path / "state", model, num_steps=3, resume=True)
    assert second.losses == {3: told.losses[3]}
    assert same(weights_of(model), weights)
    assert verify(tmp_path / "state" / LAST) is None


@pytest.mark.parametrize("name", TEARS)
def test_two_torn_ones_are_both_passed_over_and_three_are_an_error(
    name: str, straight: tuple[Path, Any, Memory], tmp_path: Path
) -> None:
    folder, restore = tmp_path / "state", Restorer()
    shutil.copytree(straight[0], folder)
    pick = random.Random(name)
    TEARS[name](folder / LAST, pick)
    TEARS["truncated"](folder / BEFORE, pick)
    assert restore(folder)[0] == 1
    TEARS["truncated"](folder / "step-00000001", pick)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(CheckpointError, match="every checkpoint is torn"):
        restore(folder)
    assert sorted(path.name for path in folder.iterdir()) == before, "evidence is not removed"


def test_a_pipe_in_the_manifests_place_is_not_waited_for(
    straight: tuple[Path, Any, Memory], tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(straight[0], folder)
    for name in FILES:
        (folder / LAST / name).unlink()
        os.mkfifo(folder / LAST / name)
        assert verify(folder / LAST) is not None
    assert Restorer()(folder)[0] == 2


def test_what_is_no_damage_is_none(straight: tuple[Path, Any, Memory], tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(straight[0], folder)
    (folder / LAST / ".DS_Store").write_text("something else")
    (folder / "notes.txt").write_text("mine")
    state = folder / LAST / "state.json"
    state.rename(folder / "state.json")
    state.symlink_to(folder / "state.json")  # the same bytes, elsewhere
    assert Restorer()(folder) == (3, [])


def test_a_torn_one_does_not_take_the_place_of_a_whole_one(
    straight: tuple[Path, Any, Memory], tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(straight[0], folder)
    (folder / LAST).rename(folder / "step-00000009")  # newer than all that come
    run_loop(folder, dropout_model("lora"), num_steps=5, keep=2, resume=True)
    assert sorted(path.name for path in folder.glob("step-*[0-9]")) == ["step-00000004", "step-00000005"]
    assert all(verify(path) is None for path in folder.glob("step-*[0-9]"))


BEST_OPTIONS: dict[str, Any] = {"num_steps": 6, "evaluate_every": 2, "checkpoint_every": 1}


def best_run(folder: Path, **options: Any) -> tuple[Any, Memory]:
    from luthier.data.batches import microbatches
    from tests.training.toys import random_rows

    other = random_rows([9, 9], seed=5)
    model = dropout_model("lora")
    validation = lambda: microbatches(other, range(2), 100)  # noqa: E731
    _, told = run_loop(folder, model, **BEST_OPTIONS | {"validation": validation} | options)
    return model, told


def test_best_weights_between_their_renames_come_back(tmp_path: Path) -> None:
    best_run(tmp_path, num_steps=4)
    kept = (tmp_path / "best" / "weights.safetensors").read_bytes()
    (tmp_path / "best").rename(tmp_path / ".best.01234567.tmp")  # killed between the two renames
    (tmp_path / ".best.89abcdef.tmp").mkdir()
    _, told = best_run(tmp_path, num_steps=5, evaluate_every=99, resume=True)
    assert told.of("message") == []
    assert (tmp_path / "best" / "weights.safetensors").read_bytes() == kept
    assert not list(tmp_path.glob(".*"))


def test_of_two_best_weights_the_one_that_the_checkpoint_knows(tmp_path: Path) -> None:
    best_run(tmp_path, num_steps=2, evaluate_every=1)
    store = CheckpointStore(tmp_path)
    (tmp_path / "best").rename(tmp_path / ".best.22222222.tmp")
    store.save_best(dropout_model("lora", seed=3), {"step": 8})
    (tmp_path / "best").rename(tmp_path / ".best.11111111.tmp")
    assert store.mend_best(2) is None
    assert '"step": 2' in (tmp_path / "best" / "best.json").read_text()


@pytest.mark.parametrize("name", ["weights.safetensors", "best.json", "manifest.json"])
def test_torn_best_weights_are_said_and_made_anew(name: str, tmp_path: Path) -> None:
    best_run(tmp_path, num_steps=3)
    (tmp_path / "best" / name).write_bytes(b"torn")
    model, told = best_run(tmp_path, resume=True)
    assert "the best weights so far are gone" in told.of("message")[0]
    assert CheckpointStore(tmp_path).load_best(model)


def test_torn_best_weights_are_never_loaded(tmp_path: Path) -> None:
    model, _ = best_run(tmp_path, num_steps=3)
    before = weights_of(model)
    (tmp_path / "best" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="the best weights are torn"):
        CheckpointStore(tmp_path).load_best(model)
    assert same(weights_of(model), before)
