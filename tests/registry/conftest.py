"""A Postgres of the tests' own, where its programs are on this machine."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_USER = "luthier"


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl; packages keep it off the path."""
    on_path = shutil.which("pg_ctl")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "initdb").exists() and (one / "pg_ctl").exists()), None)


def _run(*words: str) -> None:
    """As an ordinary user: Postgres refuses to be run by root."""
    as_root = os.geteuid() == 0
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if as_root else {}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd="/", **user)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server in a folder of its own, reached through a socket there; the URL of its databases but for the name."""
    pytest.importorskip("psycopg", reason='no driver for Postgres: pip install "luthier[postgres]"')
    programs = _programs()
    if programs is None:
        pytest.skip("no Postgres server on this machine (initdb and pg_ctl)")
    folder = Path("/tmp") / f"luthier-postgres-{uuid.uuid4().hex[:8]}"  # a socket's path has to be short
    folder.mkdir(mode=0o700)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = str(folder / "data")
        _run(str(programs / "initdb"), "-D", data, "-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        log = str(folder / "log")
        _run(str(programs / "pg_ctl"), "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://{_USER}@/{{name}}?host={folder}"
        finally:
            _run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of an empty database."""
    from sqlalchemy import create_engine, text

    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(postgres_server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine.dispose()
    return postgres_server.format(name=name)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str | None:
    """What `SpecialistStore` takes for its database: None is SQLite beside the files."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres"))
