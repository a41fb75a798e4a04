"""Plain pairs and CoNLL."""

from pathlib import Path

from luthier.data.sources import find_files
from tests.data.shared import SHARED, needs_shared
from tests.data.sources.files import read, read_bytes, values


def test_odd_lines_ask_and_even_lines_answer(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, "a.txt", b"How wide?\n68 m.\n\n  \nHow long?\r\n100 m.\r\n")
    assert values(rows) == [
        {"prompt": "How wide?", "completion": "68 m."},
        {"prompt": "How long?", "completion": "100 m."},
    ]
    assert [row.number for row in rows] == [1, 5]


def test_a_question_without_an_answer(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, "a.txt", b"a?\nb.\nc?\n")
    assert values(rows)[1] == "broken_table" and rows[1].number == 3
    assert "none answers" in rows[1].problem  # type: ignore[union-attr]


def test_bad_bytes_in_a_pair(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, "a.txt", b"a?\nb\xe9.\nc?\nd.\n")
    assert values(rows) == ["not_utf8", {"prompt": "c?", "completion": "d."}] and rows[0].number == 2


def test_sentences_of_tokens_and_tags(tmp_path: Path) -> None:
    data = b"-DOCSTART- -X- O\n\nOslo\tB-place\nis\tO\n\n\nbroken\n\nit NN O\n"
    rows = read_bytes(tmp_path, "a.conll", data)
    first = {"tokens": ["Oslo", "is"], "tags": ["B-place", "O"]}
    assert values(rows) == [first, "broken_table", {"tokens": ["it"], "tags": ["O"]}]
    assert [row.number for row in rows] == [3, 7, 9]


@needs_shared
def test_real_sentences() -> None:
    path = SHARED / "extract/emerging.dev.conll"
    blank_lines = path.read_text(encoding="utf-8").strip().split("\n\n")
    rows = values(read(path))
    assert len(rows) == len(blank_lines) == 1009
    assert rows[0]["tokens"][:2] == ["Stabilized", "approach"] and set(rows[0]["tags"]) == {"O"}


def test_conll_and_tables_are_told_apart_without_an_ending(tmp_path: Path) -> None:
    sentence = "Oslo\tB-place\nis\tO\nbig\tO\n\n"
    (tmp_path / "a").write_text(sentence * 5)
    (tmp_path / "b").write_text("ham\tsee you there\nspam\twin a prize now\n" * 5)
    assert [find_files(tmp_path / name)[0].kind for name in "ab"] == ["conll", "tsv"]
