"""Committing files as a version: the check, the manifest, the card, parents, records that lie beside."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.data.checks import Report
from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.finding import SPLITS
from luthier.data.checks.images import Images
from luthier.data.checks.language import OtherLanguage
from luthier.data.checks.length import CharacterLengths
from luthier.data.mix import mix
from luthier.data.mix_recipe import MixRecipe
from luthier.data.places import pin_place, resolve_file, resolve_place
from luthier.data.sources import find_files, read_rows
from luthier.data.versions import Committed, commit, describe
from luthier.errors import DataError
from luthier.registry.datasets import Store, dataset_id
from tests.data.shared import SHARED, needs_shared


def rows_file(path: Path, *questions: str, answer: str = "It is {}.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"What is {question}?", "answer": answer.format(question)} for question in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, which is also where `dataset:` places are looked for."""
    monkeypatch.setenv("LUTHIER_DATASETS", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def make(tmp_path: Path, store: Path, *words: str, **options: Any) -> Committed:
    return commit({"train": [rows_file(tmp_path / "t.jsonl", *words)]}, "rugby", store, **options)


def test_a_version_says_what_it_holds(tmp_path: Path, store: Path) -> None:
    train = [rows_file(tmp_path / "a.jsonl", "a", "b", "b"), rows_file(tmp_path / "b.jsonl", "c")]
    valid = rows_file(tmp_path / "v.jsonl", "d")
    before = {path: path.read_bytes() for path in (*train, valid)}
    done = commit(
        {"train": train, "valid": [valid]},
        "rugby",
        store,
        message="first",
        licence="CC0",
        source="the | club",
    )
    manifest = done.version.manifest
    sha = {path: "sha256:" + hashlib.sha256(data).hexdigest() for path, data in before.items()}
    assert done.version.id == dataset_id({"train": [sha[path] for path in train], "valid": [sha[valid]]})
    assert {one["name"]: (one["rows"], one["distinct_rows"]) for one in manifest["splits"]["train"]} == {
        "a.jsonl": (3, 2),
        "b.jsonl": (1, 1),
    }
    assert [manifest["splits"][split][0]["format"] for split in ("train", "valid")] == [
        "question/answer",
        "item",
    ]
    assert manifest["totals"] == {
        "files": 3,
        "bytes": sum(map(len, before.values())),
        "rows": {"train": 4, "valid": 1},
    }
    assert manifest["check"]["word"] == done.report.word if done.report else False
    assert json.loads((done.version.folder / "check.json").read_text())["word"] == manifest["check"]["word"]
    card = (done.version.folder / "card.md").read_text()
    for words in (
        done.version.ref,
        "first",
        "| licence | CC0 |",
        "the \\| club",
        "4 train, 1 valid",
        "duplicate_rows",
    ):
        assert words in card
    assert {path: path.read_bytes() for path in before} == before
    assert describe(done.version)["place"] == f"dataset:{done.version.ref}"


def test_what_nobody_stated_is_not_invented(tmp_path: Path, store: Path) -> None:
    folder = make(tmp_path, store, "a").version.folder
    card = (folder / "card.md").read_text()
    assert "| licence | not stated |" in card and "| source | not stated |" in card
    assert "Not stated: no record" in card


def test_paths_names_and_times_do_not_change_the_id(tmp_path: Path, store: Path) -> None:
    first = make(tmp_path, store, "a", message="one").version
    moved = rows_file(tmp_path / "elsewhere" / "other-name.jsonl", "a")
    second = commit({"train": [moved]}, "chess", tmp_path / "other-store", parent="none").version
    assert first.id == second.id
    packed = tmp_path / "t.jsonl.gz"
    packed.write_bytes(gzip.compress(moved.read_bytes(), mtime=0))
    third = commit({"train": [packed]}, "packed", store).version
    assert third.id != first.id, "the id is of bytes, not of rows"
    assert third.splits["train"][0].path.read_bytes() == packed.read_bytes()


def test_the_same_bytes_again_are_there_already(tmp_path: Path, store: Path) -> None:
    first = make(tmp_path, store, "a")
    again = make(tmp_path, store, "a", message="later", licence="CC0")
    assert (first.is_new, again.is_new, again.report) == (True, False, None)
    assert again.version == first.version


def test_a_damaged_version_is_not_taken_for_the_same_bytes(tmp_path: Path, store: Path) -> None:
    first = make(tmp_path, store, "a").version
    first.splits["train"][0].path.write_text("{}\n")
    with pytest.raises(
        DataError, match=rf"are {first.ref} already, but it is damaged.*Remove .*{first.short_id}"
    ):
        make(tmp_path, store, "a")
    shutil.rmtree(first.folder)
    assert make(tmp_path, store, "a").version.id == first.id


def test_parents_are_the_latest_version_unless_one_says_otherwise(tmp_path: Path, store: Path) -> None:
    one = make(tmp_path, store, "a").version
    two = make(tmp_path, store, "b").version
    beside = make(tmp_path, store, "c", parent=one.short_id).version
    alone = make(tmp_path, store, "d", parent="none").version
    assert [v.parents for v in (one, two, beside, alone)] == [(), (one.id,), (one.id,), ()]
    with pytest.raises(DataError, match="no version of rugby begins with 'ffffffff'"):
        make(tmp_path, store, "e", parent="ffffffff")
    with pytest.raises(DataError, match="a parent has the same name"):
        make(tmp_path, store, "e", parent="chess@abc")


def test_a_version_that_was_removed_does_not_come_back_as_its_own_descendant(
    tmp_path: Path, store: Path
) -> None:
    one = make(tmp_path, store, "a").version
    two = make(tmp_path, store, "b").version
    shutil.rmtree(one.folder)
    with pytest.raises(DataError, match="came from these very files"):
        make(tmp_path, store, "a", parent=two.short_id)
    assert make(tmp_path, store, "a").version.parents == ()


def test_errors_in_the_data_are_refused_unless_allowed(tmp_path: Path, store: Path) -> None:
    places = {
        "train": [rows_file(tmp_path / "t.jsonl", "a", "b")],
        "valid": [rows_file(tmp_path / "v.jsonl", "a")],
    }
    with pytest.raises(
        DataError, match=r"found an error.*\n  valid_rows_in_train \(valid\).*\n.*--allow-errors"
    ):
        commit(places, "rugby", store)  # type: ignore[arg-type]
    assert not store.exists()
    version = commit(places, "rugby", store, allow_errors=True).version  # type: ignore[arg-type]
    assert version.manifest["check"]["errors"] == 1
    assert "valid_rows_in_train" in (version.folder / "card.md").read_text()


def test_nothing_to_commit(store: Path) -> None:
    with pytest.raises(DataError, match="nothing to commit"):
        commit({"train": []}, "rugby", store)


def test_a_set_of_the_hub_has_no_bytes_to_keep(tmp_path: Path, store: Path) -> None:
    with pytest.raises(DataError, match=r"has no bytes of its own.*luthier data convert"):
        commit({"train": ["hub:some/set"]}, "rugby", store)


def test_the_record_of_a_mix_is_taken_in(tmp_path: Path, store: Path) -> None:
    sources = [rows_file(tmp_path / f"{name}.jsonl", name, name + "2") for name in "ab"]
    recipe = MixRecipe.model_validate({"sources": [{"path": str(path)} for path in sources]})
    out = tmp_path / "mixed" / "train.jsonl"
    mix(recipe, out)
    version = commit({"train": [out]}, "mixed", store).version
    (record,) = version.manifest["made_by"]
    path = tmp_path / "mixed" / "train.jsonl.manifest.json"
    assert record["how"] == "luthier data mix"
    assert record["sha256"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["summary"]["rows"] == 4 and record["of_these_bytes"] is True
    assert "luthier data mix: `train.jsonl.manifest.json`" in (version.folder / "card.md").read_text()
    out.write_text(out.read_text() + out.read_text())
    later = commit({"train": [out]}, "mixed", store).version
    assert later.manifest["made_by"][0]["of_these_bytes"] is False
    assert "it was written for other bytes than these" in (later.folder / "card.md").read_text()


def test_removed_rows_are_counted_by_reason_and_what_is_no_record_is_passed_over(
    tmp_path: Path, store: Path
) -> None:
    lines = [{"reason": "duplicate"}, {"reason": "duplicate"}, {"reason": "leak"}]
    (tmp_path / "t.jsonl.removed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "t.jsonl.changed.jsonl").write_text('{"reasons": ["encoding", "spaces"]}\n')
    (tmp_path / "split.json").write_text("not ours")
    removed, changed = make(tmp_path, store, "a").version.manifest["made_by"]
    assert removed["summary"] == {"rows": 3, "reasons": {"duplicate": 2, "leak": 1}}
    assert changed["summary"] == {"rows": 1, "reasons": {"encoding": 1, "spaces": 1}}


def test_a_version_is_read_wherever_a_file_is(tmp_path: Path, store: Path) -> None:
    version = commit(
        {"train": [rows_file(tmp_path / "t.jsonl", "a")], "valid": [rows_file(tmp_path / "v.jsonl", "b")]},
        "rugby",
        store,
    ).version
    assert resolve_place("dataset:rugby", "train") == [version.folder / "train" / "t.jsonl"]
    assert resolve_place(f"dataset:{version.ref}/valid", "train") == [version.folder / "valid" / "v.jsonl"]
    assert resolve_place("rugby.jsonl", "train") == [Path("rugby.jsonl")]
    assert [row.value["question"] for row in read_rows("dataset:rugby/valid")] == ["What is b?"]
    assert find_files("dataset:rugby/train")[0].place == str(version.folder / "train" / "t.jsonl")
    with pytest.raises(DataError, match=r"has the splits train, valid; name one: dataset:rugby@latest/train"):
        resolve_place("dataset:rugby")
    with pytest.raises(DataError, match=r"has no split 'test'; it has: train, valid"):
        resolve_file("dataset:rugby", "test")
    assert pin_place("dataset:rugby") == f"dataset:{version.ref}"
    assert pin_place("dataset:rugby/valid") == f"dataset:{version.ref}/valid"
    assert pin_place("rugby.jsonl") == "rugby.jsonl"


def test_one_file_is_wanted_where_one_is_read(tmp_path: Path, store: Path) -> None:
    commit({"test": [rows_file(tmp_path / f"{name}.jsonl", name) for name in "ab"]}, "rugby", store)
    with pytest.raises(DataError, match="expected one file, this split has 2"):
        resolve_file("dataset:rugby", "test")


def test_a_damaged_version_is_refused_before_it_is_read(tmp_path: Path, store: Path) -> None:
    version = make(tmp_path, store, "a").version
    assert resolve_place("dataset:rugby")
    path = version.splits["train"][0].path
    path.write_bytes(path.read_bytes().replace(b"What", b"Whom"))
    with pytest.raises(
        DataError, match=r"t.jsonl: changed since it was committed.*luthier data verify rugby@"
    ):
        resolve_place("dataset:rugby")
    path.unlink()
    with pytest.raises(DataError, match=r"t.jsonl: this file of a dataset version cannot be read"):
        resolve_place("dataset:rugby")


@needs_shared
def test_the_rugby_set_is_refused_and_its_id_is_the_same_everywhere(tmp_path: Path, store: Path) -> None:
    folder = SHARED / "rugby_seed"
    places = {"train": [folder / "train.jsonl"], "valid": [folder / "valid.jsonl"]}
    with pytest.raises(DataError, match="valid_rows_in_train"):
        commit(places, "rugby", store)  # type: ignore[arg-type]
    version = commit(places, "rugby", store, allow_errors=True).version  # type: ignore[arg-type]
    assert version.id == "sha256:f26fd7393def27fdeb2812fc5e78567db20b980b0fe6190b209e643169051c88"
    assert version.manifest["splits"]["train"][0]["distinct_rows"] == 100
    assert Store(store).find("rugby") == version


@needs_shared
def test_the_card_has_languages_lengths_and_what_is_not_kept(tmp_path: Path, store: Path) -> None:
    def check(*places: list[Any]) -> Report:
        named = dict(zip(SPLITS, places, strict=True))
        return check_places(
            named, [Images, OtherLanguage, CharacterLengths], lambda scratch: Context(scratch)
        )

    asked = {"role": "user", "content": "What are these? <image> <image>"}
    row = {
        "messages": [asked, {"role": "assistant", "content": "A dot."}],
        "images": ["dot.png", "https://a.b/c.png"],
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    train = [SHARED / "rugby_seed" / "train.jsonl", tmp_path / "t.jsonl"]
    version = commit({"train": train}, "rugby", store, check=check, allow_errors=True).version
    assert version.manifest["images_not_kept"] == 2
    card = (version.folder / "card.md").read_text()
    assert "The rows name 2 images, which are not part of the version" in card
    assert "| languages.train.languages | en " in card and "| characters.train.answer | p50 " in card
