"""A specialist in one file: there and back, and what is refused on the way in."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.registry.test_specialists import PROMPT, bundle

from luthier.errors import RegistryError
from luthier.registry.specialist_archive import export_archive, import_archive
from luthier.registry.specialist_check import require_sound
from luthier.registry.specialists import SpecialistStore


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    store = SpecialistStore(tmp_path / "from")
    found, _ = store.commit("rugby", bundle(tmp_path / "bundle"), {"system_prompt": PROMPT})
    store.attach(found, "verdict", {"word": "ship", "reasons": []})
    export_archive(store, found, tmp_path / "rugby.tar")
    return tmp_path / "rugby.tar"


def test_there_and_back(archive: Path, tmp_path: Path) -> None:
    store = SpecialistStore(tmp_path / "to")
    found, new = import_archive(store, archive)
    original = SpecialistStore(tmp_path / "from").find("rugby")
    assert new and found.id == original.id and found.files == original.files and found.ref == "rugby@1"
    assert found.system_prompt == PROMPT
    assert [one["body"]["word"] for one in store.records(found, "verdict")] == ["ship"]
    assert import_archive(store, archive) == (found, False)
    assert import_archive(store, archive, "hockey")[0].ref == "hockey@1"
    require_sound(store)


def rewritten(
    archive: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]
) -> None:
    """The archive with every entry as `change` makes it; None leaves it out."""
    with tarfile.open(archive) as old:
        entries = [(entry, old.extractfile(entry).read()) for entry in old if entry.isfile()]  # type: ignore[union-attr]
    with tarfile.open(archive, "w") as new:
        for entry, data in entries:
            if (made := change(entry, data)) is not None:
                made[0].size = len(made[1])
                new.addfile(made[0], io.BytesIO(made[1]))


def edited_head(archive: Path, edit: Callable[[dict[str, object]], object]) -> None:
    def change(entry: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if entry.name == "specialist.json":
            head = json.loads(data)
            edit(head)
            data = json.dumps(head).encode()
        return entry, data

    rewritten(archive, change)


def renamed(entry: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    if entry.name == "files/recipe.yaml":
        entry.name = name
    return entry


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda a: a.write_bytes(a.read_bytes()[:900]), "cannot read the archive|expected an archive"),
        (lambda a: a.write_bytes(b"PK\x03\x04" + bytes(1000)), "cannot read the archive"),
        (lambda a: rewritten(a, lambda e, d: (e, d.replace(b"lora", b"full"))), "recipe.yaml is not what"),
        (lambda a: rewritten(a, lambda e, d: None if "recipe" in e.name else (e, d)), "recipe.yaml"),
        (lambda a: rewritten(a, lambda e, d: (renamed(e, "files/../../evil"), d)), "leaves the bundle"),
        (lambda a: rewritten(a, lambda e, d: (renamed(e, "/etc/evil"), d)), "leaves the bundle"),
        (lambda a: edited_head(a, lambda h: h.pop("manifest")), "expected an archive of a specialist"),
        (lambda a: edited_head(a, lambda h: h["manifest"].update(format=9)), "of format 1"),
        (lambda a: edited_head(a, lambda h: h["manifest"].update(name="../x")), "specialist '../x'"),
    ],
)
def test_what_is_refused(
    archive: Path, tmp_path: Path, spoil: Callable[[Path], object], problem: str
) -> None:
    spoil(archive)
    store = SpecialistStore(tmp_path / "to")
    with pytest.raises(RegistryError, match=problem):
        import_archive(store, archive)
    assert store.names() == [] and not list(store.artifacts.ids())
    assert not (tmp_path / "evil").exists()


def test_links_are_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive, "a") as one:
        link = tarfile.TarInfo("files/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        one.addfile(link)
    with pytest.raises(RegistryError, match="is no file"):
        import_archive(SpecialistStore(tmp_path / "to"), archive)
