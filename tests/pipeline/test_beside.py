"""A further specialist on a toy: kept in the same store over the same base, not promoted; done once."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.toys import model_folder

from luthier.errors import DataError
from luthier.pipeline.beside import Beside, BesideJob, make_beside
from luthier.registry.specialists import SpecialistStore
from luthier.training.tracking import Trackers


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def turns(number: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"Double {number}."},
        {"role": "assistant", "content": f'{{"v":{2 * number}}}'},
    ]


def job(folder: Path) -> BesideJob:
    asked = [{"question": f"Twice {n}?", "answer": f'{{"v":{2 * n}}}', "grader": "json"} for n in (30, 31)]
    return BesideJob(
        name="double",
        base=str(folder / "base"),
        train=write(folder / "train.jsonl", [{"messages": turns(n)} for n in range(2, 18)]),
        valid=write(folder / "valid.jsonl", [{"messages": turns(n), "grader": "json"} for n in (20, 21)]),
        test=write(folder / "test.jsonl", asked),
        folder=folder / "double",
        recipe={
            "method": {"name": "lora", "rank": 2, "alpha": 4},
            "train": {"max_steps": 2, "batch_size": 4, "dtype": "float32"},
        },
        max_new_tokens=3,
    )


def make(what: BesideJob, store: SpecialistStore) -> tuple[Beside, dict[str, str]]:
    told: dict[str, str] = {}
    return make_beside(what, store, lambda name, line: told.__setitem__(name, line), Trackers([])), told


def test_it_is_kept_beside_the_others_and_done_once(tmp_path: Path) -> None:
    model_folder(tmp_path / "base")
    store, what = SpecialistStore(tmp_path / "specialists"), job(tmp_path)
    found, told = make(what, store)
    assert list(told) == ["train double", "evaluate double"] and "0 of them JSON" in told["evaluate double"]
    assert (found.specialist, found.accuracy, found.num_json, found.num_items) == ("double@1", 0.0, 0, 2)
    kept = store.find("double@1")
    assert kept.manifest["form"] == "adapter" and kept.manifest["base"]["name"] == what.base
    assert store.aliases("double") == {} and found.run["steps"] == 2
    again, told = make(what, store)
    assert again.specialist == "double@1" and all("(done before)" in line for line in told.values())


def test_data_with_errors_is_refused(tmp_path: Path) -> None:
    model_folder(tmp_path / "base")
    what = job(tmp_path)
    write(what.test, [{"question": "Double 3.", "answer": '{"v":6}', "grader": "json"}])
    write(what.train, [{"messages": turns(3)}] * 16)
    with pytest.raises(DataError, match="luthier data check"):
        make(what, SpecialistStore(tmp_path / "specialists"))
