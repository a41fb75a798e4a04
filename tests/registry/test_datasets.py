"""The store of dataset versions: content ids, whole or nothing, parents, names, damage."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import DataError
from luthier.hashing import hash_bytes
from luthier.registry.dataset_refs import Ref, parse_ref
from luthier.registry.datasets import NewFile, Store, Version, damage, dataset_id, holding, list_versions

GOLDEN = "sha256:47e0413bfe3bea5dd7fe2b16f322bbdaaa9f4954630ded89f36504adb2fbff69"  # computed with sha256sum and printf


def new_file(path: Path, data: bytes) -> NewFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return NewFile(path.name, partial(path.open, "rb"), hash_bytes(data))


def add(
    store: Store, folder: Path, text: str, *, name: str = "rugby", parents: Sequence[str] = ()
) -> Version:
    file = new_file(folder / f"{text}.jsonl", text.encode())
    return store.add(name, {"train": [file]}, parents=parents, message=text)[0]


def chain(store: Store, folder: Path, *texts: str) -> list[Version]:
    versions: list[Version] = []
    for text in texts:
        versions.append(add(store, folder, text, parents=[versions[-1].id] if versions else []))
    return versions


def everything(folder: Path) -> Mapping[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_id_is_the_same_for_the_same_bytes_on_any_machine_and_day() -> None:
    a, b, c = (hash_bytes(text) for text in (b"a\n", b"b\n", b"c\n"))
    assert dataset_id({"train": [a, b], "valid": [c]}) == GOLDEN
    assert dataset_id({"valid": [c], "train": [b, a], "test": []}) == GOLDEN, (
        "order and empty splits do not count"
    )
    assert dataset_id({"train": [a, b], "test": [c]}) != GOLDEN, "the split counts"
    assert dataset_id({"train": [a, a, b], "valid": [c]}) != GOLDEN, "a file given twice is read twice"


@given(st.lists(st.binary(max_size=4), min_size=1), st.randoms())
def test_the_order_of_the_files_does_not_count(contents: list[bytes], random: object) -> None:
    hashes = [hash_bytes(one) for one in contents]
    shuffled = sorted(hashes, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert dataset_id({"train": hashes}) == dataset_id({"train": shuffled})


def test_a_version_holds_its_files_byte_for_byte(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    files = {
        "train": [
            new_file(tmp_path / "a" / "rows.jsonl", b"a\n"),
            new_file(tmp_path / "b" / "rows.jsonl", b"b\n"),
        ],
        "valid": [new_file(tmp_path / "rows.jsonl", b"c\n")],
        "test": [],
    }
    version, is_new = store.add(
        "rugby", files, documents=lambda manifest: {"card.md": f"id {manifest['id']}"}
    )
    assert (version.id, is_new) == (GOLDEN, True)
    assert version.folder == tmp_path / "datasets" / "rugby" / version.short_id
    assert (version.folder / "card.md").read_text() == f"id {GOLDEN}"
    assert sorted(f.path.read_bytes() for f in version.splits["train"]) == [b"a\n", b"b\n"]
    assert {f.path.name for f in version.splits["train"]} == {"rows.jsonl", "rows-2.jsonl"}
    hashes = [f.sha256 for f in version.splits["train"]]
    assert hashes == sorted(hashes), "files are read in an order that no machine changes"
    assert [p.name for p in (tmp_path / "datasets" / "rugby").iterdir()] == [version.short_id]
    assert damage(version) == []


def test_the_same_bytes_again_add_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    first = add(store, tmp_path, "one")
    before = everything(tmp_path / "datasets")
    again, is_new = store.add("rugby", {"train": [new_file(tmp_path / "other.csv", b"one")]}, message="later")
    assert (again.id, is_new) == (first.id, False)
    assert everything(tmp_path / "datasets") == before


@pytest.mark.parametrize("name", ["", "Rugby", "-rugby", ".rugby", "a/b", "..", "a b", "x" * 65, "rugby\n"])
def test_a_bad_name_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dataset name"):
        add(Store(tmp_path / "datasets"), tmp_path, "one", name=name)
    assert not (tmp_path / "datasets").exists()


def test_a_file_that_changes_under_the_commit_is_refused(tmp_path: Path) -> None:
    file = new_file(tmp_path / "rows.jsonl", b"one")
    (tmp_path / "rows.jsonl").write_bytes(b"two")
    with pytest.raises(DataError, match=r"rows.jsonl: changed while it was committed"):
        Store(tmp_path / "datasets").add("rugby", {"train": [file]})
    assert not (tmp_path / "datasets").exists()


def _commit_on_a_full_disk(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    file = NewFile("rows.jsonl", partial((folder / "rows.jsonl").open, "rb"), hash_bytes(b"x" * 100_000))
    try:
        Store(folder / "datasets").add("rugby", {"train": [file]})
    except DataError as error:
        os._exit(7 if "nothing was left behind" in str(error) and "too large" in str(error) else 8)
    os._exit(9)


@pytest.mark.parametrize("stood", [False, True])
def test_a_full_disk_leaves_nothing_behind(stood: bool, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"x" * 100_000)
    if stood:
        add(Store(tmp_path / "datasets"), tmp_path, "one")
    before = everything(tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=_commit_on_a_full_disk, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 7
    assert everything(tmp_path) == before
    assert (tmp_path / "datasets").exists() is stood
    if stood:
        assert [path.name[0] for path in (tmp_path / "datasets" / "rugby").iterdir()] != ["."]


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("a file")
    with pytest.raises(DataError, match=r"datasets.*cannot write the version"):
        add(Store(tmp_path / "datasets"), tmp_path, "one")


def _commit_when_told(folder: Path, number: int, start: object, results: object) -> None:
    file = NewFile("rows.jsonl", partial((folder / "rows.jsonl").open, "rb"), hash_bytes(b"x" * 100_000))
    start.wait()  # type: ignore[attr-defined]
    version, is_new = Store(folder / "datasets").add("rugby", {"train": [file]}, message=str(number))
    results.put((version.id, is_new, version.message))  # type: ignore[attr-defined]


def test_of_two_commits_at_once_one_writes_and_the_other_finds_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"x" * 100_000)
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [
        context.Process(target=_commit_when_told, args=(tmp_path, number, start, results))
        for number in range(3)
    ]
    for process in processes:
        process.start()
    start.set()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert len({full_id for full_id, _, _ in found}) == 1
    assert sum(is_new for _, is_new, _ in found) == 1
    (version,) = Store(tmp_path / "datasets").versions("rugby")
    assert {message for _, _, message in found} == {version.message}, (
        "the loser was told of the winner's version"
    )
    assert damage(version) == []
    assert len(list((tmp_path / "datasets" / "rugby").iterdir())) == 1


def test_versions_are_listed_newest_first_even_where_a_clock_went_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    one, two, three = chain(store, tmp_path, "one", "two", "three")
    manifest = json.loads((three.folder / "manifest.json").read_text())
    (three.folder / "manifest.json").write_text(
        json.dumps(manifest | {"created": "1999-01-01T00:00:00+00:00"})
    )
    assert [version.message for version in store.versions("rugby")] == ["three", "two", "one"]
    assert store.find("rugby").id == three.id
    assert list_versions(tmp_path / "datasets") == store.versions("rugby")
    assert one.parents == () and two.parents == (one.id,)


def test_a_circle_of_parents_written_by_hand_does_not_hang(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    one, two = chain(store, tmp_path, "one", "two")
    manifest = json.loads((one.folder / "manifest.json").read_text())
    (one.folder / "manifest.json").write_text(json.dumps(manifest | {"parents": [two.id]}))
    assert len(store.versions("rugby")) == 2


def test_a_reference_names_a_version(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    one, two, three = chain(store, tmp_path, "one", "two", "three")
    digits = one.id.removeprefix("sha256:")
    assert store.find("rugby").id == store.find("dataset:rugby@latest").id == three.id
    assert store.find(f"rugby@{digits}").id == store.find(f"rugby@{digits[:6]}").id == one.id
    assert store.find("rugby@latest~1").id == two.id
    assert store.find(f"rugby@{two.short_id}~1").id == one.id
    with pytest.raises(DataError, match=rf"{one.short_id} has no parent"):
        store.find("rugby@latest~3")
    shutil.rmtree(two.folder)
    with pytest.raises(DataError, match=rf"parent {two.short_id} of {three.ref} is no longer in the store"):
        store.find("rugby@latest~1")


def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    with pytest.raises(DataError, match=r"no dataset is called 'rugby'.*There is none yet"):
        store.find("rugby")
    versions = [add(store, tmp_path, str(number)) for number in range(20)]
    add(store, tmp_path, "0", name="chess")
    with pytest.raises(DataError, match=r"'ruby'.*Did you mean 'rugby'"):
        store.find("ruby")
    with pytest.raises(DataError, match=r"'poetry'.*There are: chess, rugby"):
        store.find("poetry")
    with pytest.raises(
        DataError, match=rf"no version of chess begins with 'ffff'.*{store.find('chess').short_id}"
    ):
        store.find("chess@ffff")
    first = next(d for d in "0123456789abcdef" if sum(v.short_id[0] == d for v in versions) > 1)
    with pytest.raises(DataError, match=rf"versions begin with '{first}'.*Give more digits"):
        store.find(f"rugby@{first}")


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("rugby", Ref("rugby")),
        ("dataset:rugby", Ref("rugby")),
        ("rugby@latest", Ref("rugby")),
        ("rugby@3f2a", Ref("rugby", "3f2a")),
        ("rugby@latest~2", Ref("rugby", None, 2)),
        ("dataset:rug.by-2@3f~1/valid", Ref("rug.by-2", "3f", 1, "valid")),
        ("rugby/test", Ref("rugby", split="test")),
    ],
)
def test_references_are_read(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert parse_ref(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["", "Rugby", "rugby@", "rugby@xyz", "rugby~1", "rugby@3f2a~", "rugby/", "a b", "../x"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="names no dataset version"):
        parse_ref(text)


def test_damage_is_named_file_by_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    files = {"train": [new_file(tmp_path / "a.jsonl", b"a")], "valid": [new_file(tmp_path / "b.jsonl", b"b")]}
    version, _ = store.add("rugby", files)
    (version.folder / "train" / "a.jsonl").write_bytes(b"A")
    (version.folder / "valid" / "b.jsonl").unlink()
    changed, missing = damage(version)
    assert "train/a.jsonl: changed since it was committed" in changed
    assert "valid/b.jsonl: cannot be read" in missing
    assert damage(version, ["valid"]) == [missing]
    manifest = json.loads((version.folder / "manifest.json").read_text())
    manifest["splits"]["train"][0]["sha256"] = hash_bytes(b"A")
    (version.folder / "manifest.json").write_text(json.dumps(manifest))
    assert "do not give its id" in damage(store.find("rugby"))[0], (
        "a manifest that was bent to fit is found too"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_broken_manifest_spoils_no_other_version(text: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    one, two = chain(store, tmp_path, "one", "two")
    (one.folder / "manifest.json").write_text(text)
    assert [version.id for version in store.versions("rugby")] == [two.id]
    (problem,) = store.damaged("rugby")
    assert str(one.folder / "manifest.json") in problem
    shutil.rmtree(two.folder)
    with pytest.raises(DataError, match=r"damaged.*manifest"):
        store.find("rugby")


def test_half_written_folders_are_no_versions(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    add(store, tmp_path, "one")
    (tmp_path / "datasets" / "rugby" / ".0123.tmp" / "train").mkdir(parents=True)
    assert len(store.versions("rugby")) == 1 and store.damaged("rugby") == []


def test_the_version_that_holds_some_files_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    files = {"train": [new_file(tmp_path / "a", b"a")], "test": [new_file(tmp_path / "b", b"b")]}
    version, _ = store.add("rugby", files)
    a, b = hash_bytes(b"a"), hash_bytes(b"b")
    assert holding(store.root, {"train": [a]}) == version, "a run need not read every split"
    assert holding(store.root, {"train": [a], "test": [b]}) == version
    assert holding(store.root, {"train": [a, b]}) is None
    assert holding(store.root, {"valid": [a]}) is None
    assert holding(store.root, {}) is None and holding(tmp_path / "gone", {"train": [a]}) is None
