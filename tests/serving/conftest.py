"""One toy for all tests of serving, made once in each process that runs them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.registry.specialists import SpecialistStore
from tests.serving.toys import toy_store


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SpecialistStore, Path]]:
    """(a store with `rugby` and `units` in production, the folder of their base), in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("serving-cache")))
        yield toy_store(tmp_path_factory.mktemp("serving"))
