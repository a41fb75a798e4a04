"""One toy for all tests of serving, made once in a run, however many processes run them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.files import locked
from luthier.registry.specialists import SpecialistStore
from tests.serving.toys import toy_store


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SpecialistStore, Path]]:
    """(a store with `rugby` and `units` in production, the folder of their base), in a cache of its own."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of the run, not of one process
    folder = folder / "serving-toy"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("serving-cache")))
        with locked(folder / "lock"):
            if not (folder / "made").exists():
                toy_store(folder)
                (folder / "made").touch()
        yield SpecialistStore(folder / "specialists"), folder / "base"
