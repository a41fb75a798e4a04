"""From what a person named to files, each with its kind and from what that was told."""

import gzip
import json
from pathlib import Path

import fsspec
import pytest

from luthier.data.sources import KINDS, find_all, find_files, read_every_row, read_rows, shards, size_bytes
from luthier.errors import DataError
from tests.data.shared import SHARED, needs_shared

_LINE = '{"prompt": "a", "completion": "b"}\n'


@pytest.mark.parametrize(
    ("name", "text", "kind", "how"),
    [
        ("a.jsonl", _LINE * 2, "jsonl", "by its ending .jsonl"),
        ("a.ndjson", _LINE, "jsonl", "by its ending .ndjson"),
        ("a.json", _LINE * 2, "jsonl", "by its content: JSON lines"),
        ("a.csv", _LINE * 2, "jsonl", "by its content: JSON lines"),
        ("a", _LINE * 2, "jsonl", "by its content: JSON lines"),
        ("a.json", f"[{_LINE}]", "json", "by its ending .json"),
        ("a.jsonl", f"[{_LINE},{_LINE}]", "json", "by its content: a JSON array"),
        ("a.txt", f"[\n{_LINE}]", "json", "by its content: a JSON array"),
        (
            "a.jsonl",
            '{\n  "a": 1\n}\n{\n  "a": 2\n}\n',
            "json",
            "by its content: JSON values one after another",
        ),
        ("a.jsonl", '{"a" 1}\n{"a": 2}\n', "jsonl", "by its ending .jsonl"),
        ("a.jsonl", '{"a" 1}\n', "jsonl", "by its ending .jsonl"),
        ("a.jsonl", '[1]\n{"a": 2}\n', "jsonl", "by its ending .jsonl"),
        ("a.txt", "how?\nso.\n", "pairs", "by its ending .txt"),
        ("a.txt", "a\tb\nc\td\n", "tsv", "by its content"),
        ("a.tsv", "a\tb\nc\td\n", "tsv", "by its ending .tsv"),
        ("a.csv", "[a],{b}\n[c],d\n", "csv", "by its ending .csv"),
        ("a.csv", "", "csv", "by its ending .csv"),
        ("data", "name,age\nAnn,31\nBob,40\n", "csv", "by its content"),
    ],
)
def test_the_kind_and_from_what_it_was_told(
    name: str, text: str, kind: str, how: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    for place in (path, packed):
        (file,) = find_files(place)
        assert file.kind == kind and file.how.startswith(how), file
        assert file.compression == ("gz" if place is packed else None)


def test_packing_is_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(_LINE.encode()))
    (tmp_path / "b.jsonl.gz").write_text(_LINE * 2)
    assert [row.value["prompt"] for row in read_rows(tmp_path / "a.jsonl")] == ["a"]
    (file,) = find_files(tmp_path / "b.jsonl.gz")
    assert "not packed in spite of its ending .gz" in file.how and len(list(read_every_row(file))) == 2


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("notes.md", b"# Notes\n\nsome, words\n", "cannot tell what kind"),
        ("a.bin", bytes(range(256)) * 9, "cannot tell what kind"),
        ("a.xlsx", b"PK\x03\x04rest", "save the sheet as CSV"),
        ("a.bz2", b"BZh9rest", "bzip2"),
    ],
)
def test_other_files_are_refused(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}: .*{said}"):
        find_files(tmp_path / name)


def test_the_kind_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("how?\nso.\n")
    (file,) = find_files(tmp_path / "a.md", kind="pairs")
    assert file.how == "as you said" and len(list(read_every_row(file))) == 1
    with pytest.raises(DataError, match="unknown kind of file 'excel'"):
        find_files(tmp_path / "a.md", kind="excel")
    assert "jsonl" in KINDS and "parquet" in KINDS


def _tree(folder: Path) -> None:
    for name in (
        "b.jsonl",
        "a.json",
        "deep/c.csv",
        "deep/.hidden.jsonl",
        ".git/d.jsonl",
        "README.md",
        "p.jpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text,label\nx y,z\n" if name.endswith("csv") else _LINE)
    (folder / "LICENSE").write_text("A licence.\nWith two lines.\n")
    (folder / "requirements.txt").write_text("numpy\npyarrow\n")
    (folder / "SPAM").write_text("ham\tsee you\nspam\twin now\n")


def test_a_folder_and_a_glob(tmp_path: Path) -> None:
    _tree(tmp_path)
    names = [Path(file.place).relative_to(tmp_path).as_posix() for file in find_files(tmp_path)]
    assert names == ["SPAM", "a.json", "b.jsonl", "deep/c.csv"]
    assert [Path(f.place).name for f in find_files(f"{tmp_path}/**/*.[jc]s*")] == [
        "a.json",
        "b.jsonl",
        "c.csv",
    ]
    for place, said in (
        (tmp_path / "empty", "no data file there"),
        (f"{tmp_path}/*.parquet", r"\*\.parquet: no file matches"),
        (f"{tmp_path}/*.md", r"no data file.*\.csv"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=said):
            find_files(place)


def test_a_broken_file_in_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    _tree(tmp_path)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(_LINE.encode() * 99)[:-9])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz: .*damaged"):
        find_files(tmp_path)


def test_one_file_named_twice(tmp_path: Path) -> None:
    _tree(tmp_path)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "b.jsonl")
    assert len(find_all([tmp_path / "b.jsonl", tmp_path / "a.json"])) == 2
    for again in (tmp_path / "deep/../b.jsonl", tmp_path / "link.jsonl", f"{tmp_path}/*.jsonl"):
        with pytest.raises(DataError, match="named twice"):
            find_all([tmp_path / "b.jsonl", again])


def test_urls_are_read_like_files() -> None:
    with fsspec.open("memory://luthier-test/a.jsonl", "wb") as file:
        file.write(_LINE.encode() * 5000)
    with fsspec.open("memory://luthier-test/deep/b.jsonl.gz", "wb") as file:
        file.write(gzip.compress(_LINE.encode() * 3))
    files = find_files("memory://luthier-test")
    assert [file.compression for file in files] == [None, "gz"]
    assert [sum(1 for _ in read_every_row(file)) for file in files] == [5000, 3]
    assert size_bytes(files[0]) == 5000 * len(_LINE)
    pieces = shards(files[0], 20_000)
    assert (
        pieces is not None
        and sum(sum(1 for _ in read_every_row(files[0], piece)) for piece in pieces) == 5000
    )
    assert len(find_files("memory://luthier-test/**/*.jsonl*")) == 2
    with pytest.raises(DataError, match="no such data file: memory://luthier-test/absent"):
        find_files("memory://luthier-test/absent.jsonl")


def test_an_unknown_protocol_and_a_missing_package() -> None:
    with pytest.raises(DataError, match="not a known protocol"):
        find_files("gopher2://host/a.jsonl")
    pytest.importorskip("datasets")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match="pip install s3fs"):
            find_files("s3://bucket/a.jsonl")


def test_a_set_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "org" / "name"
    folder.mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        (folder / f"{split}.jsonl").write_text(_LINE * count)
    (file,) = find_files(f"hub:{folder}:test")
    rows = list(read_every_row(file))
    assert file.kind == "hub" and size_bytes(file) is None
    assert [(row.number, row.unit) for row in rows] == [(1, "row"), (2, "row")]
    with pytest.raises(DataError, match=r"cannot be read: .*Check the name, the split"):
        list(read_every_row(find_files(f"hub:{folder}:absent")[0]))


def test_only_what_looks_like_a_hub_id_is_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_files("org/name")[0].kind == find_files("org/name:train")[0].kind == "hub"
    for misspelt in ("data/trian", "data/train.jsonl", "org/name.jsonl", "a/b/c", "name"):
        with pytest.raises(DataError, match=f"no such data file: {misspelt}"):
            find_files(misspelt)


@needs_shared
def test_real_files() -> None:
    counts = {
        "rugby_seed/train.jsonl": 1000, "instruct/identity.json": 91, "instruct/glaive_toolcall_en_demo.json": 300,
        "extract/train_AddToPlaylist.json": 300, "preference/kto_en_demo.json": 300, "wikisql/test.jsonl": 100,
        "multimodal/mllm_demo.json": 6, "instruct/gsm8k_train.jsonl": 7473,
    }  # fmt: skip
    assert {name: sum(1 for _ in read_rows(SHARED / name)) for name in counts} == counts
    (file,) = find_files(SHARED / "extract/train_AddToPlaylist.json")
    assert "'AddToPlaylist' holds the list" in file.how
    rows = list(read_rows(SHARED / "instruct/identity.json"))
    assert [row.value for row in rows] == json.loads(
        (SHARED / "instruct/identity.json").read_text(encoding="utf-8")
    )
