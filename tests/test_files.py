"""Outputs appear whole or not at all."""

import os
from pathlib import Path

import pytest

from luthier import files
from luthier.files import atomic_directory, write_bytes_atomic, write_json_atomic, write_text_atomic


def test_written_whole(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "new" / "a.txt", "é")
    write_json_atomic(tmp_path / "b.json", {"a": "é"})
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é".encode()
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == '{\n  "a": "é"\n}\n'


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_beside(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, broken, refuse)
    with pytest.raises(OSError, match="No space"):
        write_bytes_atomic(path, b"new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with atomic_directory(tmp_path / "f") as beside:
            assert not (beside / "sub").exists()
            (beside / "sub").mkdir()
            (beside / "sub" / "x").write_text(content)
    assert (tmp_path / "f" / "sub" / "x").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("failing_rename", [None, 1, 2])
def test_a_failure_leaves_the_old_folder_and_nothing_beside(
    failing_rename: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_directory(tmp_path / "f") as beside:
        (beside / "x").write_text("old")
    real, calls = os.replace, []

    def replace(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == failing_rename:
            raise OSError(5, "Input/output error")
        real(*paths)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(OSError, match="error"), atomic_directory(tmp_path / "f") as beside:
        (beside / "x").write_text("new")
        if failing_rename is None:
            raise OSError("an error while it is filled")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f" / "x").read_text() == "old"


def test_a_file_in_the_place_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(FileExistsError, match="got a file"), atomic_directory(tmp_path / "f"):
        pass
    assert (tmp_path / "f").read_text() == "mine"
