"""Fixtures that every room's tests may use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# How fast a busy machine runs an example is not a property of the code.
settings.register_profile("luthier", deadline=None)
settings.load_profile("luthier")

_SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of whoever runs it."""
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """The path of a real data file beside the repository; the test is skipped where there is none."""

    def find(name: str) -> Path:
        path = _SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"needs the real data file {name}, which is not in the repository")
        return path

    return find
