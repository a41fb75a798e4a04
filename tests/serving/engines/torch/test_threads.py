"""The number of threads is the one that was fastest when it was tried."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.serving.engines.torch.engine import TorchEngine, open_torch_engine
from luthier.serving.engines.torch.threads import fastest_num_threads
from tests.export.toys import base_folder

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Takes:
    """A model that takes so many seconds with so many threads."""

    def __init__(self, **seconds: float) -> None:
        self._seconds = {int(name[1:]): one for name, one in seconds.items()}
        self.tried: list[int] = []

    def __call__(self, **_: Any) -> None:
        self.tried.append(torch.get_num_threads())
        time.sleep(self._seconds[self.tried[-1]])


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ({"t1": 0.04, "t2": 0.02, "t4": 0.01}, 4),
        ({"t1": 0.02, "t2": 0.04, "t4": 0.06}, 1),
        ({"t1": 0.04, "t2": 0.02, "t4": 0.04}, 2),
        ({"t1": 0.0201, "t2": 0.02, "t4": 0.0199}, 1),  # as good as the same
    ],
)
def test_the_fastest_is_taken_and_torch_keeps_its_own(seconds: dict[str, float], fastest: int) -> None:
    model = Takes(**seconds)
    assert fastest_num_threads(model, CPU) == fastest
    assert set(model.tried) == {1, 2, 4} and torch.get_num_threads() == 4


def test_where_there_is_no_choice_nothing_is_tried() -> None:
    model = Takes()
    assert fastest_num_threads(model, torch.device("cuda")) == 4
    torch.set_num_threads(1)
    assert fastest_num_threads(model, CPU) == 1 and model.tried == []


def test_the_engine_computes_with_the_number_it_was_given(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")

    async def work() -> int:
        engine = await open_torch_engine(str(base), dtype="float32", device="cpu", num_threads=3)
        assert isinstance(engine, TorchEngine)
        found = await engine._in_worker(torch.get_num_threads)
        await engine.close()
        return found

    assert asyncio.run(work()) == 3 and torch.get_num_threads() == 4
