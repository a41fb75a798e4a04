"""The store of specialists: versions, words that move between them, and what is refused."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.errors import RegistryError
from luthier.registry.db import transaction
from luthier.registry.specialist import Specialist
from luthier.registry.specialist_check import collect, require_sound, verify
from luthier.registry.specialist_diff import other_prompt
from luthier.registry.specialist_lineage import lineage, render_mermaid, render_tree
from luthier.registry.specialists import SpecialistStore

PROMPT = "Answer briefly.\n\tYes? “No”.\r\n"


def bundle(folder: Path, text: str = "weights") -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter.safetensors").write_text(text, encoding="utf-8")
    (folder / "recipe.yaml").write_text("method: lora\n", encoding="utf-8")
    return {
        "model/adapter.safetensors": folder / "adapter.safetensors",
        "recipe.yaml": folder / "recipe.yaml",
    }


@pytest.fixture
def store(tmp_path: Path, database: str | None) -> SpecialistStore:
    """On SQLite, and again on Postgres."""
    return SpecialistStore(tmp_path / "specialists", database)


def commit(
    store: SpecialistStore, tmp_path: Path, text: str, name: str = "rugby", **details: Any
) -> Specialist:
    parts = bundle(tmp_path / "bundle", text)
    return store.commit(name, parts, {"system_prompt": PROMPT, **details})[0]


def shipped(store: SpecialistStore, tmp_path: Path, text: str) -> Specialist:
    found = commit(store, tmp_path, text)
    store.attach(found, "verdict", {"word": "ship"})
    return found


def test_a_bundle_becomes_a_version_once(store: SpecialistStore, tmp_path: Path) -> None:
    first, new = store.commit("rugby", bundle(tmp_path / "a"), {"system_prompt": PROMPT})
    again, new_again = store.commit("rugby", bundle(tmp_path / "b"), {"system_prompt": PROMPT})
    other = commit(store, tmp_path, "other")
    assert (new, new_again) == (True, False) and first.id == again.id and first.ref == "rugby@1"
    assert other.number == 2 and other.id != first.id
    assert store.find("rugby").number == 2 and store.find("rugby@latest").number == 2
    assert store.find("rugby@1") == store.find(f"rugby@{first.short_id}") == first
    assert store.find("rugby@1").system_prompt == PROMPT
    # the same files under two names and ids are kept once
    assert len(list(store.artifacts.ids())) == 3 and store.names() == ["rugby"]
    require_sound(store)


def test_the_id_follows_from_all_that_a_bundle_is(store: SpecialistStore, tmp_path: Path) -> None:
    first = commit(store, tmp_path, "w", sampling={"temperature": 0.0})
    assert commit(store, tmp_path, "w", sampling={"temperature": 0.1}).id != first.id
    assert commit(store, tmp_path, "w", "hockey", sampling={"temperature": 0.0}).id == first.id


def test_only_ship_is_promoted(store: SpecialistStore, tmp_path: Path) -> None:
    found = commit(store, tmp_path, "w")
    with pytest.raises(RegistryError, match="it has no verdict, and only `ship` may be"):
        store.promote("rugby@1")
    store.attach(found, "verdict", {"word": "ship"})
    store.attach(found, "verdict", {"word": "hold"})
    with pytest.raises(RegistryError, match="its last verdict is `hold`"):
        store.promote("rugby@1")
    with pytest.raises(RegistryError, match="needs a reason"):
        store.promote("rugby@1", force=True, reason=" ")
    assert store.aliases("rugby") == {}
    store.promote("rugby@1", force=True, reason="a demonstration")
    assert store.aliases("rugby") == {"production": 1}
    assert store.history("rugby")[-1].reason == "a demonstration"


def test_rollback_goes_back_step_by_step(store: SpecialistStore, tmp_path: Path) -> None:
    for text in "abc":
        store.promote(shipped(store, tmp_path, text).ref)
    store.promote("rugby@3")  # again: changes nothing, and takes no step
    assert store.find("rugby@production").number == 3
    assert store.rollback("rugby", reason="worse in use").version == 2
    assert store.rollback("rugby").version == 1
    with pytest.raises(RegistryError, match="the first version that was 'production'"):
        store.rollback("rugby")
    store.promote("rugby@3")
    assert store.rollback("rugby").version == 1
    assert [event.what for event in store.history("rugby")].count("rollback") == 3
    require_sound(store)


def test_what_is_in_use_is_not_removed(store: SpecialistStore, tmp_path: Path) -> None:
    store.promote(shipped(store, tmp_path, "a").ref)
    shipped(store, tmp_path, "b")
    with pytest.raises(RegistryError, match="it is 'production'"):
        store.remove("rugby@1")
    store.remove("rugby@2")
    assert [one.number for one in store.versions("rugby")] == [1]
    assert commit(store, tmp_path, "c").number == 3  # a number never means two things
    assert len(verify(store).unneeded) == 1 and collect(store) == 1 and not verify(store).unneeded
    store.unset("rugby", "production")
    store.remove("rugby@1")
    assert commit(store, tmp_path, "a").number == 4
    require_sound(store)


def test_a_version_that_is_gone_is_not_rolled_back_to(store: SpecialistStore, tmp_path: Path) -> None:
    for text in "abc":
        store.promote(shipped(store, tmp_path, text).ref)
    store.remove("rugby@2")
    assert store.rollback("rugby").version == 1


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        ("rugbi", "did you mean 'rugby'"),
        ("rugby@9", "there is no such version; there are 1"),
        ("rugby@staging", "no such version"),
        ("../rugby", "names no specialist"),
        ("rugby@", "names no specialist"),
    ],
)
def test_what_is_not_there(store: SpecialistStore, tmp_path: Path, ref: str, problem: str) -> None:
    commit(store, tmp_path, "a")
    with pytest.raises(RegistryError, match=problem):
        store.find(ref)


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 65, "ü", "a b"])
def test_names_are_never_paths(store: SpecialistStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="expected a-z"):
        commit(store, tmp_path, "a", name)
    with pytest.raises(RegistryError):
        store.promote("rugby@1", name, force=True, reason="x")


def test_checkout_is_byte_for_byte_and_damage_is_found(store: SpecialistStore, tmp_path: Path) -> None:
    found = commit(store, tmp_path, "weights")
    out = store.checkout(found, tmp_path / "out")
    assert (out / "model" / "adapter.safetensors").read_text(encoding="utf-8") == "weights"
    place = (
        Path(store.root) / "files" / found.files["recipe.yaml"].id[7:9] / found.files["recipe.yaml"].id[7:]
    )
    place.chmod(0o644)
    place.write_text("method: full\n", encoding="utf-8")
    with pytest.raises(RegistryError, match="its bytes have changed"):
        require_sound(store)
    with pytest.raises(RegistryError, match="have changed"):
        store.checkout(found, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    place.unlink()
    (problem,) = verify(store).problems
    assert problem.startswith(f"{found.ref} recipe.yaml: ") and "no longer in the store" in problem


def test_opened_folders_are_made_once(
    store: SpecialistStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    found = commit(store, tmp_path, "weights")
    assert store.opened(found) == store.opened(store.find("rugby@1"))
    assert (store.opened(found) / "recipe.yaml").is_file()


def test_two_processes_at_once_lose_no_write(
    store: SpecialistStore, tmp_path: Path, database: str | None
) -> None:
    """Both start on a store that knows nothing, commit, record and promote; all of it is there at the end."""

    def write(worker: int) -> None:
        mine = SpecialistStore(store.root, database)
        for turn in range(6):
            parts = bundle(tmp_path / f"w{worker}", f"{worker}-{turn}")
            found, _ = mine.commit("rugby", parts, {"system_prompt": None})
            mine.attach(found, "verdict", {"word": "ship"})
            mine.promote(found.ref)

    children = []
    for worker in range(2):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                write(worker)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    assert sorted(one.number for one in store.versions("rugby")) == list(range(1, 13))
    assert all(len(store.records(one, "verdict")) == 1 for one in store.versions("rugby"))
    history = store.history("rugby")
    moves = [event for event in history if event.what == "promote"]
    assert len(history) == 24 and len(moves) == 12
    assert [event.before for event in moves] == [None, *(event.version for event in moves[:-1])]
    require_sound(store)


def test_what_is_collected_is_never_what_is_being_committed(
    store: SpecialistStore, tmp_path: Path, database: str | None
) -> None:
    stop = threading.Event()

    def clear() -> None:
        while not stop.is_set():
            collect(SpecialistStore(store.root, database))

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        for number in range(10):
            commit(store, tmp_path, str(number))
    finally:
        stop.set()
        thread.join()
    require_sound(store)


def test_readers_do_not_wait_for_a_writer(store: SpecialistStore, tmp_path: Path) -> None:
    commit(store, tmp_path, "a")
    with transaction(store._engine):
        started = time.monotonic()
        assert store.find("rugby").number == 1 and store.names() == ["rugby"]
        assert time.monotonic() - started < 5


def test_records_are_json_values(store: SpecialistStore, tmp_path: Path) -> None:
    found = commit(store, tmp_path, "a")
    odd = {"text": "\ud800 \x00 é", "number": 2**40}
    store.attach(found, "note", odd)
    assert store.records(found)[0]["body"] == odd
    with pytest.raises(RegistryError, match="'note' is not made of JSON values"):
        store.attach(found, "note", {"loss": float("nan")})


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "me:\\*\\*\\*@.*cannot open the database"),
        ("postgresql+pg8000://me:secret@127.0.0.1/x", "driver pg8000 is not installed"),
        ("nosuch://x", "cannot open the database"),
    ],
)
def test_databases_that_do_not_answer(tmp_path: Path, url: str, problem: str) -> None:
    if "psycopg" in url:
        pytest.importorskip("psycopg")
    with pytest.raises(RegistryError, match=problem) as refused:
        SpecialistStore(tmp_path, url)
    assert "secret" not in str(refused.value)


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    store = SpecialistStore(tmp_path / "specialists")

    with sqlite3.connect(Path(store.root) / "store.sqlite") as database:
        database.execute("update luthier_schema set form = 99")
    with pytest.raises(RegistryError, match="written by a newer Luthier"):
        SpecialistStore(store.root)
    (Path(store.root) / "store.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryError, match="cannot open the database"):
        SpecialistStore(store.root)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["promote 1", "promote 2", "promote 3", "rollback"]), max_size=12))
def test_production_is_what_a_plain_stack_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = SpecialistStore(folder / "specialists")
    for text in "abc":
        shipped(store, folder, text)
    stack: list[int] = []
    for step in steps:
        if step == "rollback":
            if len(stack) < 2:
                with pytest.raises(RegistryError):
                    store.rollback("rugby")
            else:
                stack.pop()
                assert store.rollback("rugby").version == stack[-1]
        else:
            number = int(step[-1])
            store.promote(f"rugby@{number}")
            if not stack or stack[-1] != number:
                stack.append(number)
        assert store.aliases("rugby") == ({"production": stack[-1]} if stack else {})


def test_another_system_prompt_is_told_with_its_difference(tmp_path: Path) -> None:
    found = commit(SpecialistStore(tmp_path / "specialists"), tmp_path, "a")
    assert other_prompt(found, PROMPT) is None
    told = other_prompt(found, PROMPT.replace("\r\n", "\n"))  # one byte
    assert told is not None and "rugby@1 is asked with another system prompt than its own" in told
    assert "-\\tYes? “No”.\\r\\n" in told and "+\\tYes? “No”.\\n" in told
    assert "without its system prompt" in str(other_prompt(found, None))
    plain = commit(SpecialistStore(tmp_path / "specialists"), tmp_path, "b", system_prompt=None)
    assert other_prompt(plain, "") is None and "+Hi" in str(other_prompt(plain, "Hi"))


def test_lineage_is_a_tree_and_a_graph(tmp_path: Path) -> None:
    store = SpecialistStore(tmp_path / "specialists")
    data = [{"role": "train", "path": 'a "b".jsonl', "sha256": "sha256:" + "9f" * 32, "rows": 8}]
    base = {"name": "luthier-nano", "hash": "sha256:" + "11" * 32}
    found = commit(store, tmp_path, "a", run="first", base=base, data=data)
    store.attach(found, "verdict", {"word": "ship"})
    store.attach(found, "export", {"form": "gguf", "path": "out/a.gguf"})
    graph = lineage(store, found)
    tree = [line[: line.index(" (2")] if " (2" in line else line for line in render_tree(graph)]
    assert tree == [
        f"specialist rugby@1 ({found.short_id})",
        "  comes from",
        "    └─ run first",
        "       ├─ base luthier-nano (111111111111)",
        '       └─ data train: a "b".jsonl, 8 rows, 9f9f9f9f9f9f',
        "  became",
        "    ├─ verdict ship",
        "    └─ export gguf: out/a.gguf",
    ]
    drawn = render_mermaid(graph)
    assert drawn[0] == "graph LR" and "  n0 --> n1" in drawn
    assert drawn[4].endswith('a #34;b#34;.jsonl, 8 rows, 9f9f9f9f9f9f"]')
