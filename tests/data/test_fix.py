"""Files put right: the plan counts what is known of real files, and the check finds nothing of it afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.checks import check_files
from luthier.data.fix import apply_fix, plan_fix
from luthier.data.fix_survey import FixOptions
from luthier.data.repair import repair_text, repair_value
from luthier.errors import DataError
from tests.data.shared import SHARED, needs_shared

_FIXED = {"duplicate_rows", "broken_json", "not_utf8", "malformed_row", "unknown_shape", "no_assistant_turn"}
_FIXED |= {"empty_answer", "mojibake", "control_characters"}
_LEAKS = {f"{later}_{what}_in_{earlier}" for what in ("rows", "prompts")
          for later, earlier in (("valid", "train"), ("test", "train"), ("test", "valid"))}  # fmt: skip


def pair(asked: str, said: str, **more: Any) -> dict[str, Any]:
    return {"prompt": asked, "completion": said, **more}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fix(
    train: Path, out: Path | str, *, valid: Path | None = None, test: Path | None = None, **options: Any
) -> Any:
    plan = plan_fix(
        [train],
        out,
        valid=[valid] if valid else (),
        test=[test] if test else (),
        options=FixOptions(**options),
    )
    apply_fix(plan)
    return plan


def counts(plan: Any) -> dict[tuple[str, str], int]:
    return {(item.split, item.name): item.count for item in plan.items}


def found_after(train: Path, valid: Path | None = None) -> set[str]:
    report = check_files([train], [valid] if valid else None)
    return {finding.name for finding in report.findings}


@needs_shared
@pytest.mark.parametrize(
    ("name", "rows", "duplicates", "repaired"),
    [
        ("rugby_seed/train.jsonl", 1000, 900, 0),
        ("instruct/glaive_toolcall_en_demo.json", 300, 35, 0),
        # Two rows are the same but for an apostrophe that was read in the wrong encoding.
        ("classify/SMSSpamCollection", 5574, 403 + 1, 35),
        ("instruct/alpaca_en_demo.json", 999, 14, 0),
    ],
)
def test_duplicates_of_real_files(
    tmp_path: Path, name: str, rows: int, duplicates: int, repaired: int
) -> None:
    plan = fix(SHARED / name, f"{tmp_path}/fixed/")
    changed = {("train", "mojibake"): repaired} if repaired else {}
    assert counts(plan) == {("train", "duplicate"): duplicates, **changed}
    (told,) = plan.to_dict()["files"]
    assert (told["rows"], told["removed"], told["kept"]) == (rows, duplicates, rows - duplicates)
    assert not found_after(Path(told["out"])) & _FIXED
    removed = read(plan.removed_to)
    assert len(removed) == duplicates and all(one["repeats"] for one in removed)


@needs_shared
def test_leaks_of_a_real_set_leave_the_side_that_is_named(tmp_path: Path) -> None:
    train, valid = SHARED / "rugby_seed/train.jsonl", SHARED / "rugby_seed/valid.jsonl"
    plan = fix(train, tmp_path / "a", valid=valid)
    kept = {told["split"]: told["kept"] for told in plan.to_dict()["files"]}
    assert kept == {"train": 35, "valid": 80}, "valid asks 65 of the 100 questions that train asks"
    assert not found_after(tmp_path / "a/train.jsonl", tmp_path / "a/valid.jsonl") & (_FIXED | _LEAKS)
    with pytest.raises(DataError, match="nothing would be left of the validation rows"):
        fix(train, tmp_path / "b", valid=valid, leaks_from="valid")
    assert not (tmp_path / "b").exists()


def test_every_kind_of_row_that_goes_is_told_with_its_reason(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    lines = [
        json.dumps(pair("q1", "one", id=1)),
        '{"prompt": "cut',
        json.dumps(pair("q1", "one", id=2)),
        json.dumps({"unknown": "row"}),
        json.dumps({"messages": [{"role": "user", "content": "alone"}]}),
        json.dumps(pair("Q2 ", "another answer")),
        json.dumps(pair("q3", "three")),
        json.dumps(pair("q4", "four")),
        json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "  "}]}),
    ]
    train.write_text("\n".join(lines), encoding="utf-8")
    valid = write(tmp_path / "valid.jsonl", [pair("q2", "two"), pair("q3", "three"), pair("q5", "five")])
    test = write(tmp_path / "test.jsonl", [{"question": "q5", "answer": "five"}])
    plan = fix(train, tmp_path / "out", valid=valid, test=test)
    assert counts(plan) == {
        ("train", "broken_json"): 1,
        ("train", "unknown_shape"): 1,
        ("train", "no_assistant_turn"): 1,
        ("train", "empty_answer"): 1,
        ("train", "duplicate"): 1,
        ("train", "question_in_valid"): 1,
        ("train", "row_in_valid"): 1,
        ("valid", "row_in_test"): 1,
    }
    assert read(tmp_path / "out/train.jsonl") == [pair("q1", "one", id=1), pair("q4", "four")]
    assert len(read(tmp_path / "out/valid.jsonl")) == 2 and len(read(tmp_path / "out/test.jsonl")) == 1
    removed = {(one["split"], one["number"]): one for one in read(tmp_path / "out.removed.jsonl")}
    assert removed["train", 2]["raw"] == '{"prompt": "cut' and removed["train", 2]["reason"] == "broken_json"
    assert removed["train", 3]["row"]["id"] == 2 and removed["train", 3]["repeats"] == f"{train}:1"
    assert removed["train", 6]["repeats"] == f"{valid}:1"
    assert not found_after(tmp_path / "out/train.jsonl", tmp_path / "out/valid.jsonl") & (_FIXED | _LEAKS)


def test_one_file_is_held_against_others_that_stay(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [pair("a", "1"), pair("b", "2")])
    valid = write(tmp_path / "valid.jsonl", [pair("b", "2"), pair("b", "2")])
    before = valid.read_bytes(), train.read_bytes()
    plan = fix(train, tmp_path / "clean.jsonl", valid=valid)
    assert counts(plan) == {("train", "row_in_valid"): 1}
    assert read(tmp_path / "clean.jsonl") == [pair("a", "1")]
    assert (valid.read_bytes(), train.read_bytes()) == before
    with pytest.raises(DataError, match="into a folder"):
        fix(train, tmp_path / "x.jsonl", valid=valid, leaks_from="valid")
    with pytest.raises(DataError, match="--force"):
        apply_fix(plan)
    apply_fix(plan, force=True)
    with pytest.raises(DataError, match="never written over"):
        apply_fix(plan_fix([train], train), force=True)


def test_what_is_switched_off_stays(tmp_path: Path) -> None:
    rows = [pair("a", "1"), pair("a", "1"), pair("b", "cafe\u0301")]
    train = write(tmp_path / "train.jsonl", rows)
    plan = fix(train, tmp_path / "x.jsonl", duplicates=False, encoding=False)
    assert plan.items == [] and read(tmp_path / "x.jsonl") == rows
    assert not plan.removed_to.exists() and not plan.changed_to.exists()
    fix(
        write(tmp_path / "t2.jsonl", [pair("a", "1", id=1), pair("a", "1", id=2)]),
        tmp_path / "y.jsonl",
        keep="last",
    )
    assert [row["id"] for row in read(tmp_path / "y.jsonl")] == [2]
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "completion": "1"}\n{"cut', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2.*\n.*--no-broken"):
        fix(tmp_path / "bad.jsonl", tmp_path / "z.jsonl", broken=False)
    assert not (tmp_path / "z.jsonl").exists()


def test_texts_are_repaired_and_equal_ones_are_then_equal(tmp_path: Path) -> None:
    rows = [pair("café", "1"), pair("cafe\u0301", "1"), pair("cafÃ©", "1"), pair("x\x07", "It’s\x1b[31m red")]
    train = write(tmp_path / "train.jsonl", rows)
    plan = fix(train, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl") == [pair("café", "1"), pair("x", "It’s red")]
    assert counts(plan)["train", "duplicate"] == 2 and counts(plan)["train", "control_characters"] == 1
    (changed,) = read(plan.changed_to)
    assert changed["row"] == rows[3] and changed["reasons"] == ["control_characters"]
    assert "cafÃ© -> café" in next(item for item in plan.items if item.name == "mojibake").examples[0]


def test_lines_that_are_not_utf8_are_repaired_in_step(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    lines = [json.dumps(pair(f"q{i}", f"größe {i}"), ensure_ascii=False) for i in range(6)]
    encoded = [line.encode("latin-1" if i in (1, 4) else "utf-8") for i, line in enumerate(lines)]
    train.write_bytes(b"\n".join(encoded))
    plan = fix(train, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl") == [pair(f"q{i}", f"größe {i}") for i in range(6)]
    assert counts(plan) == {("train", "not_utf8"): 2}
    plan = fix(train, tmp_path / "without.jsonl", encoding=False)
    assert counts(plan) == {("train", "not_utf8"): 2} and len(read(tmp_path / "without.jsonl")) == 4
    train.write_bytes("\n".join(lines).encode("utf-16"))
    fix(train, tmp_path / "utf16.jsonl")
    assert len(read(tmp_path / "utf16.jsonl")) == 6


def test_near_duplicates_go_only_when_asked(tmp_path: Path) -> None:
    long = "The quick brown fox jumps over the lazy dog while seven wizards brew a potion of patience in the old tower"
    rows = [
        pair(long, "It takes about three hours and a little luck to finish the potion properly"),
        pair(long + " today", "It takes about three hours and a little luck to finish the potion properly"),
        pair("How long is a rugby league field?", "It is 100 metres from goal line to goal line."),
    ]
    train = write(tmp_path / "train.jsonl", rows)
    assert counts(fix(train, tmp_path / "a.jsonl")) == {}
    plan = fix(train, tmp_path / "b.jsonl", near_duplicates=True)
    assert counts(plan) == {("train", "near_duplicate"): 1} and read(tmp_path / "b.jsonl") == [
        rows[0],
        rows[2],
    ]
    with pytest.raises(DataError, match="first row is kept"):
        fix(train, tmp_path / "c.jsonl", near_duplicates=True, keep="last")
    valid = write(tmp_path / "valid.jsonl", [rows[0]])
    plan = fix(train, tmp_path / "d.jsonl", near_duplicates=True, valid=valid)
    assert counts(plan) == {("train", "row_in_valid"): 1}, "its double is gone, so the near one stays"


def test_folders_keep_names_and_refuse_clashes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    a = write(tmp_path / "one/x.jsonl", [pair("a", "1")])
    b = write(tmp_path / "two/x.jsonl", [pair("b", "1")])
    with pytest.raises(DataError, match="would be written there"):
        plan_fix([a, b], tmp_path / "out")
    with pytest.raises(DataError, match="several files are fixed into a folder"):
        plan_fix([a, b], tmp_path / "out.jsonl")


@given(st.text())
def test_a_repaired_text_needs_no_repair(text: str) -> None:
    repaired, _ = repair_text(text)
    assert repair_text(repaired) == (repaired, ())


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_categories=["Cc"]), min_size=1))
def test_a_text_read_in_the_wrong_encoding_comes_back(text: str) -> None:
    """Or it is left alone: never is it made into a third text."""
    import unicodedata

    text = unicodedata.normalize("NFC", text)
    try:
        wrong = text.encode("utf-8").decode("cp1252")
    except UnicodeDecodeError:
        return
    repaired, done = repair_text(wrong)
    if "mojibake" in done:
        assert repaired == repair_text(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "JOÃO e MARÃ",
        "À la carte — déjà vu",
        "façade",
        "naïve “quotes” and 5 €",
        "Größe",
        "日本語",
        "Â la carte",
        "ÃO",
    ],
)
def test_what_was_meant_is_left_alone(text: str) -> None:
    assert repair_text(text) == (text, ())


@pytest.mark.parametrize(
    "text", ["Größe", "it’s “so”", "naïve café", "5 €", "日本語", "👍 é", "Привет", "Γειά σου"]
)
def test_common_mojibake_is_undone(text: str) -> None:
    for encoding in ("cp1252", "latin-1"):
        try:
            wrong = text.encode("utf-8").decode(encoding)
        except UnicodeDecodeError:
            continue
        assert repair_text(wrong) == (text, ("mojibake",)), encoding
    twice = text.encode("utf-8").decode("latin-1").encode("utf-8").decode("latin-1")
    assert repair_text(twice)[0] == text


def test_values_that_need_nothing_are_the_same_objects() -> None:
    done: set[str] = set()
    value = {"a": ["plain", {"b": 1, "c": None}]}
    assert repair_value(value, done) is value and not done
    assert repair_value({"a": ["x\x00", 1]}, done) == {"a": ["x", 1]} and done == {"control_characters"}
