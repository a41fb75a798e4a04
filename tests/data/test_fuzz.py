"""Ten thousand damaged files: no crash, no hang, and every refusal names its file, its row and the reason."""

from pathlib import Path

import pytest

from tests.data.fuzz import fuzz, told


def _run(num_files: int, folder: Path, *, seed: int, large: bool) -> None:
    outcome = fuzz(num_files, seed, folder, large=large)
    print("\n".join(told(outcome)))
    assert not outcome.failures, "\n".join(outcome.failures)
    for word in ("whole", "rows refused", "file refused"):
        assert outcome.counts[word], f"no file was {word}: the generator does not reach what it should"


def test_damaged_files_are_told_not_crashed_on(tmp_path: Path) -> None:
    _run(150, tmp_path, seed=1, large=False)


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path: Path) -> None:
    _run(10_000, tmp_path, seed=0, large=True)
