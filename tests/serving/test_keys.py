"""Keys: shown once, known by their hashes, refused when wrong, over or revoked; a changed file is reread."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from luthier.errors import ServingError
from luthier.serving.keys import KeyRing, new_key, read_keys, revoke_key
from luthier.serving.limits import Limits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_known_and_no_other_is(file: Path) -> None:
    anna, token = new_key(file, "anna")
    ben, other = new_key(file, "ben", admin=True)
    ring = KeyRing.load(file)
    assert ring.authenticate(token) == anna and ring.authenticate(other) == ben
    assert not anna.admin and ben.admin
    crossed = f"sk-luthier-{anna.id}-{other.rsplit('-', 1)[-1]}"
    wrong = [
        None,
        "",
        "x",
        token[:-1],
        token + "a",
        token.upper(),
        crossed,
        f" {token}",
        token + "\n",
        "ä" * 40,
    ]
    wrong += [
        f"sk-luthier-{anna.id}-",
        f"sk-luthier--{token}",
        "sk-luthier-" * 50,
        anna.digest,
        token.replace("sk", "SK"),
    ]
    assert [ring.authenticate(one) for one in wrong] == [None] * len(wrong)


def test_the_file_holds_no_key_and_is_its_owners(file: Path) -> None:
    _, token = new_key(file, "anna", limits=Limits(10, 1000, 2), specialists=("sql", "base"))
    text = file.read_text()
    assert token not in text and token.rsplit("-", 1)[-1] not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (kept,) = read_keys(file)
    assert kept.limits == Limits(10, 1000, 2)
    asked = {"sql": True, "sql@3": True, "sqlite": False, None: True}
    assert {name: kept.may_ask(name) for name in asked} == asked
    file.chmod(0o622)
    with pytest.raises(ServingError, match="chmod 600"):
        KeyRing.load(file)


def test_revoked_and_expired_keys_are_nobodys(file: Path) -> None:
    _, token = new_key(file, "anna")
    _, brief = new_key(file, "brief", expires=datetime.now(UTC) + timedelta(seconds=0.05))
    ring = KeyRing.load(file)
    assert ring.authenticate(token)
    value = json.loads(file.read_text())
    value["keys"][1]["expires"] = "2020-01-01T00:00:00+00:00"
    file.write_text(json.dumps(value))
    assert ring.authenticate(brief) is None and ring.authenticate(token)
    assert revoke_key(file, "anna").name == "anna"
    assert ring.authenticate(token) is None
    _, later = new_key(file, "anna")
    assert ring.authenticate(later) and ring.authenticate(token) is None
    with pytest.raises(ServingError, match="no key is called 'nobody'; there are: brief"):
        revoke_key(file, "nobody")


def test_a_broken_file_keeps_the_last_keys_and_a_missing_one_knows_nobody(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, token = new_key(file, "anna")
    ring, kept = KeyRing.load(file), file.read_text()
    file.write_text(kept[:-20])
    assert ring.authenticate(token) and "stay in use" in caplog.text
    file.unlink()
    assert ring.authenticate(token) is None and "is gone" in caplog.text
    file.write_text(kept)
    file.chmod(0o600)
    assert ring.authenticate(token)
    with pytest.raises(ServingError, match="luthier keys new"):
        KeyRing.load(file.with_name("other.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 9},
        {"keys": [{}]},
        {"keys": [{"id": 3}]},
        {"keys": "all"},
        {"keys": [{"admin": "no"}]},
        {"keys": [{"limits": {"concurrent": 0}}]},
        {"keys": [{"limits": {"concurent": 1}}]},
        {"keys": [{"expires": "2030-01-01T00:00:00"}]},
        {"keys": [{"specialists": "sql"}]},
        {"keys": [{"rights": "all"}]},
    ],
)
def test_what_is_wrong_in_the_file_is_said(file: Path, change: dict[str, object]) -> None:
    new_key(file, "anna")
    value = json.loads(file.read_text())
    first = value["keys"][0]
    keys = change.get("keys")
    merged = [{**first, **keys[0]}] if isinstance(keys, list) and keys[0] else keys
    file.write_text(json.dumps({**value, **change, **({"keys": merged} if keys else {})}))
    with pytest.raises(ServingError, match=r"keys\.json: cannot be used"):
        KeyRing.load(file)


@pytest.mark.parametrize("name", ["", "Anna", "a b", "../a", "a/b", "-a", "a" * 65, "a\n"])
def test_names_are_plain(file: Path, name: str) -> None:
    with pytest.raises(ServingError, match="key "):
        new_key(file, name)
    assert not file.exists()


def test_a_name_is_taken_once_and_a_key_that_is_over_cannot_be_made(file: Path) -> None:
    new_key(file, "anna")
    with pytest.raises(ServingError, match="already"):
        new_key(file, "anna")
    with pytest.raises(ServingError, match="time to come"):
        new_key(file, "late", expires=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(ServingError, match="requests_per_minute"):
        new_key(file, "none", limits=Limits(requests_per_minute=0))
    assert [key.name for key in read_keys(file)] == ["anna"]


def test_limits_follow_the_key_and_a_change_of_them_keeps_what_runs(file: Path) -> None:
    seconds = 0.0
    key, token = new_key(file, "anna", limits=Limits(concurrent=2, requests_per_minute=3))
    ring = KeyRing.load(file, clock=lambda: seconds)
    assert [ring.admit(key, 10).word for _ in range(3)] == ["allowed", "allowed", "concurrent"]
    value = json.loads(file.read_text())
    value["keys"][0]["limits"]["concurrent"] = 3
    file.write_text(json.dumps(value))
    changed = ring.authenticate(token)
    assert changed and [ring.admit(changed, 10).word for _ in range(2)] == ["allowed", "concurrent"]
    ring.release(changed)
    assert ring.admit(changed, 10).allowed


def test_two_processes_that_make_keys_lose_none(file: Path) -> None:
    code = "import sys; from pathlib import Path; from luthier.serving.keys import new_key\n"
    code += "for i in range(5): new_key(Path(sys.argv[1]), f'{sys.argv[2]}{i}')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [[sys.executable, "-c", code, str(file), who] for who in "ab"]
    running = [subprocess.Popen(one, env=environment) for one in words]
    assert [one.wait(60) for one in running] == [0, 0]
    assert sorted(key.name for key in read_keys(file)) == sorted(
        f"{who}{i}" for who in "ab" for i in range(5)
    )
