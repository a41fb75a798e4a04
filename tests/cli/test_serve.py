"""`luthier serve` as a person starts it: what is refused, what it prints, one question, and the orderly end."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError, LuthierError, RegistryError, ServingError
from luthier.registry.specialists import SpecialistStore


def error(*words: str) -> LuthierError:
    found = CliRunner().invoke(app, ["serve", "--no-record", "--port", "0", *words]).exception
    assert isinstance(found, LuthierError), found
    return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecialistStore:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_SPECIALISTS", str(tmp_path / "specialists"))
    return SpecialistStore(tmp_path / "specialists")


def commit(store: SpecialistStore, folder: Path, name: str, form: str, base: str) -> None:
    file = folder / f"{name}.bin"
    file.write_text(name, encoding="utf-8")
    details = {"form": form, "base": {"name": base, "hash": f"sha256:{base}"}}
    found, _ = store.commit(name, {"model/x": file}, details)
    store.promote(found.ref, force=True, reason="a toy")


def test_what_cannot_be_served_is_said(store: SpecialistStore, tmp_path: Path) -> None:
    commit(store, tmp_path, "sql", "adapter", "one")
    commit(store, tmp_path, "units", "adapter", "two")
    commit(store, tmp_path, "whole", "weights", "one")
    assert "no specialist is called" in str(error("nobody")) and isinstance(error("nobody"), RegistryError)
    assert "whole@1: whole weights" in str(error("sql", "whole"))
    told = str(error("sql", "units"))
    assert "one (sha256:one): sql@1" in told and "two (sha256:two): units@1" in told


def test_a_public_address_needs_keys_and_an_engine_has_a_name() -> None:
    assert isinstance(error("--host", "0.0.0.0"), ServingError)
    assert "luthier keys new" in str(error("--host", "0.0.0.0"))
    assert isinstance(error("--engine", "nonsense"), ConfigError)
    assert "no file of keys" in str(error("--keys", "nowhere.json"))


def test_served_asked_recorded_and_ended(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "luthier", "serve", "--port", "0", "--dtype", "float32", "--device", "cpu"]
    words += ["--record", str(tmp_path / "record.sqlite"), "--grace-seconds", "2"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "LUTHIER_SPECIALISTS": str(tmp_path / "none")}
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            lines = [server.stdout.readline() for _ in range(4)]
            assert [line.split()[0] for line in lines] == ["serving", "Open", "editor", "curl:"], lines
            url = re.findall(r"http://\S+", lines[0])[0]
            body = json.loads(lines[3].partition("-d '")[2].rstrip("'\n"))
            found = httpx.post(f"{url}/v1/chat/completions", json=body | {"max_tokens": 3}, timeout=60)
            assert found.status_code == 200 and found.json()["usage"]["completion_tokens"] == 3
            server.send_signal(signal.SIGTERM)
            _, logged = server.communicate(timeout=30)
        finally:
            server.kill()
    events = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    (answer,) = [one for one in events if one["event"] == "answer"]
    assert answer["outcome"] == "answered" and "Hello" not in logged
    shown = CliRunner().invoke(app, ["interactions", "list", str(tmp_path / "record.sqlite")])
    assert found.json()["id"][:12] in shown.output or "Hello" in shown.output, shown.output
