"""Files of the store elsewhere than in a folder: fsspec's memory, a `file://` URL, and a server that speaks S3."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.registry.test_specialists import bundle, commit

from luthier.errors import RegistryError
from luthier.registry.specialist_archive import export_archive, import_archive
from luthier.registry.specialist_check import collect, require_sound, verify
from luthier.registry.specialists import SpecialistStore


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    pytest.importorskip("s3fs", reason='files on S3: pip install "luthier[s3]"')
    moto = pytest.importorskip("moto.server", reason='a server that speaks S3: pip install "moto[server]"')
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture(params=["memory", "file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    if request.param == "file":
        return f"file://{tmp_path}/far"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("specialists", exist_ok=True)
    return f"s3://specialists/{tmp_path.name}"


@pytest.fixture
def far(root: str, tmp_path: Path) -> SpecialistStore:
    return SpecialistStore(root, f"sqlite:///{tmp_path / 'db.sqlite'}")


def test_a_whole_life_elsewhere(far: SpecialistStore, tmp_path: Path) -> None:
    first, second = commit(far, tmp_path, "one"), commit(far, tmp_path, "two")
    assert not verify(far).unneeded and len(list(far.artifacts.ids())) == 3
    again = SpecialistStore(far.root, str(far._engine.url))
    again.promote(first.ref, force=True, reason="a test")
    out = again.checkout(again.find("rugby@production"), tmp_path / "out")
    assert (out / "model" / "adapter.safetensors").read_text(encoding="utf-8") == "one"
    again.remove(second.ref)
    assert collect(again) == 1 and len(list(far.artifacts.ids())) == 2
    require_sound(far)
    export_archive(far, first, tmp_path / "one.tar")
    near, _ = import_archive(SpecialistStore(tmp_path / "near"), tmp_path / "one.tar")
    assert near.id == first.id


def test_bytes_that_changed_elsewhere_are_found(far: SpecialistStore, tmp_path: Path) -> None:
    found = commit(far, tmp_path, "one")
    artifact = found.files["recipe.yaml"]
    place = far.artifacts._place(artifact.id)
    if "file" in far.root.split(":")[0]:
        Path(place).chmod(0o644)
    with far.artifacts._fs.open(place, "wb") as out:
        out.write(b"method: full\n")
    with pytest.raises(RegistryError, match="its bytes have changed"):
        require_sound(far)
    far.artifacts.remove(artifact.id)
    with pytest.raises(RegistryError, match="no longer in the store"):
        far.checkout(found, tmp_path / "out")


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs", reason='files on S3: pip install "luthier[s3]"')
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = SpecialistStore("s3://nowhere", f"sqlite:///{tmp_path / 'db.sqlite'}")
    with pytest.raises(RegistryError, match="s3://nowhere"):
        store.commit("rugby", bundle(tmp_path / "bundle"), {"system_prompt": None})
    assert store.names() == []


def test_the_database_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="name one too"):
        SpecialistStore("memory://bucket")


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = f"sqlite:///{tmp_path / 'db.sqlite'}"
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # type: ignore[attr-defined]
    with pytest.raises(RegistryError, match=r"luthier\[s3\]"):
        SpecialistStore("s3://bucket", database)
    with pytest.raises(RegistryError, match="Protocol not known"):
        SpecialistStore("nosuch://bucket", database)
