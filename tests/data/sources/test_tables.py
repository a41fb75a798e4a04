"""CSV and TSV: what separates, what is quoted, what the columns are called, and every record that does not fit."""

from pathlib import Path

import pytest

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import find_files, read_every_row
from tests.data.shared import SHARED, needs_shared
from tests.data.sources.files import read, read_bytes, values


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_cells_over_several_lines_keep_the_line_where_they_begin(newline: str, tmp_path: Path) -> None:
    text = newline.join(["text,label", '"one', 'two",a', "", '"say ""x"", y",b', "plain,c"])
    rows = read_bytes(tmp_path, "a.csv", text.encode())
    inner = "\n" if newline == "\r" else newline
    assert values(rows) == [
        {"text": f"one{inner}two", "label": "a"},
        {"text": 'say "x", y', "label": "b"},
        {"text": "plain", "label": "c"},
    ]
    assert [row.number for row in rows] == [2, 5, 6] and {row.unit for row in rows} == {"line"}


@pytest.mark.parametrize(
    ("delimiter", "name"),
    [(",", "csv"), (";", "csv"), ("|", "csv"), ("\t", "csv"), ("\t", "tsv"), (",", "tsv")],
)
def test_what_separates_is_seen(delimiter: str, name: str, tmp_path: Path) -> None:
    lines = [["question", "answer"], ["how wide?", "68 m"], ["how long?", "100 m"]]
    rows = read_bytes(tmp_path, f"a.{name}", "\n".join(delimiter.join(line) for line in lines).encode())
    assert values(rows)[0] == {"question": "how wide?", "answer": "68 m"}


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["text,label", "fine,a"], ["text", "label"]),
        (["name,age", "Ann,31", "Bob,40"], ["name", "age"]),
        (["Ann,31", "Bob,40"], ["column1", "column2"]),
        (["said,kind of it", *(f"words {n} and more,{'ab'[n % 2]}" for n in range(20))], ["said", "kind of it"]),
        ([f"words {n} and more,{'ab'[n % 2]}" for n in range(20)], ["text", "label"]),
        ([f"{'ab'[n % 2]},words {n} and more" for n in range(20)], ["label", "text"]),
        (["Is it on?,Yes it is.", "Where is it?,Over there."], ["column1", "column2"]),
        (["a one,b,c", "a two,b,c"], ["column1", "column2", "column3"]),
        ([",text", "0,fine", "1,well"], ["column1", "text"]),
        (["text,text", "x y,z"], ["text", "text_2"]),
        (["text", "a single column", "has no separator"], ["text"]),
    ],
)  # fmt: skip
def test_a_header_is_told_from_a_row(lines: list[str], columns: list[str], tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, "a.csv", "\n".join(lines).encode())
    assert isinstance(rows[0], Row) and list(rows[0].value) == columns
    (file,) = find_files(tmp_path / "a.csv")
    invented = columns[0] in ("column1", "label") or rows[0].number == 1
    assert ("no header" in file.how) == (rows[0].number == 1) and (rows[0].number == 1) <= invented


def test_rows_of_another_width_and_broken_quotes(tmp_path: Path) -> None:
    text = 'text,label\nfine,a\nonly one\n1,2,3\n"x"y,b\nwell,c\n"never closed,d\nlost,e\n'
    rows = read_bytes(tmp_path, "a.csv", text.encode())
    fine, lost = {"text": "fine", "label": "a"}, {"text": "well", "label": "c"}
    assert values(rows) == [fine, *["broken_table"] * 3, lost, "broken_table"]
    problems = [row.problem.removeprefix(str(tmp_path)) for row in rows if isinstance(row, UnreadableRow)]
    assert problems[0].startswith("/a.csv:3: expected 2 cells (text, label), got 1")
    assert "closing quote" in problems[2] and problems[3].startswith("/a.csv:7: broken table: a cell opens")
    assert "lines 7 to 8" in problems[3]


def test_a_forgotten_quote_ends_the_reading(tmp_path: Path) -> None:
    text = 'text,label\nfine,a\n"never closed,b\n' + "line\n" * 200_000
    rows = read_bytes(tmp_path, "a.csv", text.encode())
    assert values(rows) == [{"text": "fine", "label": "a"}, "broken_table"] and rows[1].number == 3
    assert "does not close in lines 3 to 100004; what follows was not read" in rows[1].problem  # type: ignore[union-attr]


def test_quotes_between_tabs_are_plain_unless_they_close(tmp_path: Path) -> None:
    plain = b'label\ttext\nham\t"Hi" he said\nspam\t"never closed\nham\tfine\n'
    assert [v["text"] for v in values(read_bytes(tmp_path, "a.tsv", plain))] == [
        '"Hi" he said',
        '"never closed',
        "fine",
    ]
    quoted = b'label\ttext\nham\t"a\tb"\nspam\t"c"\n'
    assert [v["text"] for v in values(read_bytes(tmp_path, "a.tsv", quoted))] == ["a\tb", "c"]


def test_bad_bytes_in_a_record(tmp_path: Path) -> None:
    data = b"text,label\nfine,a\ncaf\xe9,b\nfine,c\n"
    rows = read_bytes(tmp_path, "a.csv", data)
    assert [row.number for row in rows] == [2, 3, 4] and values(rows)[1] == "not_utf8"
    assert f"byte {data.index(0xE9)} " in rows[1].problem  # type: ignore[union-attr]
    assert values(read_bytes(tmp_path, "a.csv", data, repair_encoding=True))[1] == {
        "text": "café",
        "label": "b",
    }


def test_large_cells_and_nuls(tmp_path: Path) -> None:
    cell = "a" * 3_000_000
    rows = read_bytes(tmp_path, "a.csv", f"text,label\n{cell},x\nb\0b,y\n".encode())
    assert [len(v["text"]) for v in values(rows)] == [3_000_000, 3]


@needs_shared
def test_real_tables() -> None:
    sms = read(SHARED / "classify/SMSSpamCollection")
    assert len(sms) == 5574 and all(isinstance(row, Row) for row in sms)
    assert sum(row["Label"] == "spam" for row in values(sms)) == 747
    assert set(values(sms)[0]) == {"Label", "SMS"}
    banking = read(SHARED / "classify/banking77_train.csv")
    assert len(banking) == 10003 and len({row["category"] for row in values(banking)}) == 77
    mmlu = [row for file in find_files(SHARED / "probes/mmlu_dev") for row in read_every_row(file)]
    assert len(mmlu) == 285 and {tuple(row) for row in values(mmlu)} == {
        ("question", "choice0", "choice1", "choice2", "choice3", "answer")
    }
