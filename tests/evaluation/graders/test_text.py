"""Graders: what passes, what does not, and that each of them proves itself on its items."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.chat.messages import Message
from luthier.errors import EvaluationError
from luthier.evaluation import graders
from luthier.evaluation.graders import Verdict, VerdictWord, numbers_in, occurs, prove
from luthier.evaluation.item import EvalItem

QUESTION = (Message("user", "How wide is the field?"),)


def item(
    answer: str | None = None,
    must: tuple[tuple[str, ...], ...] = (),
    must_not: tuple[str, ...] = (),
    grader: str | None = None,
) -> EvalItem:
    name = grader or graders.default_grader(answer, must, must_not)
    return EvalItem("an-item", QUESTION, answer, must, must_not, (), name)


def grade(one: EvalItem, text: str) -> VerdictWord:
    return graders.GRADERS[one.grader](one, text).word


@pytest.mark.parametrize(
    "text",
    ["68", "68 m", "68m", "68.0", "(68)", "60-68", "60–68", "$68", "68.", "**68**", "_68_", "宽68米", "68,"],
)
def test_a_number_is_found_by_its_value(text: str) -> None:
    assert occurs("68", text)


@pytest.mark.parametrize(
    "text", ["", "168", "68.5", "680", "-68", "1,068", "68,5", "68/2", "68th", "v68", "68²", "1.68.2", "6 8"]
)
def test_a_number_is_not_cut_out_of_another(text: str) -> None:
    assert not occurs("68", text)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("try line", "From TRY\n line to the other"),
        ("5.5 m", "they are 5.5m apart"),
        ("5.5m", "they are 5.5 m apart"),
        ("don't", "I don’t know"),
        ("112-122", "112–122 metres"),
        ("café", "cafe\u0301"),
        ("東京", "首都は東京都です"),
        ("Paris", "_Paris_!"),
        (".py", "main.py"),
    ],
)
def test_a_text_is_found(entry: str, text: str) -> None:
    assert occurs(entry, text)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("try", "country"),
        ("metre", "metres"),
        ("5.5 m", "15.5 m"),
        ("5 m", "1.5 m"),
        ("room 6", "room 6.5"),
        ("paris", "in_paris"),
        ("50%", "0.50%"),
    ],
)
def test_a_text_is_not_cut_out_of_another(entry: str, text: str) -> None:
    assert not occurs(entry, text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234,567.5 and 1.234,5", ["1234567.5", "1234.5"]),
        ("1, 2,3 or 1,2,3", ["1", "2.3", "1", "2", "3"]),
        ("\\boxed{42} \\frac{3}{4} 5½ 1 1/2", ["42", "3/4", "11/2", "3/2"]),
        ("10-3 = 7, −5, -$2, 2e3", ["10", "3", "7", "-5", "-2", "2000"]),
        ("1/2/2024 and 1/0", ["1", "2", "2024"]),
        ("1\u202f000 000", ["1000", "0"]),
        ("9" * 5000, []),
        ("no numbers: v2, 3rd, 10²", []),
    ],
)
def test_numbers_are_read_as_exact_values(text: str, numbers: list[str]) -> None:
    assert numbers_in(text) == [Fraction(number) for number in numbers]


words = st.text(alphabet="abcdefghijklmnopqrstuvwxyz ,.!?()\n", max_size=30)


@given(st.integers(-(10**12), 10**12), words, words)
def test_a_written_integer_is_read_back(number: int, before: str, after: str) -> None:
    for written in (
        f"{number}",
        f"{number:,}",
        f"{number}.0",
        f"${number}" if number >= 0 else f"-${-number}",
    ):
        assert numbers_in(f"{before} {written} {after}") == [number]


@given(st.decimals(-(10**6), 10**6, allow_nan=False, places=3))
def test_a_written_decimal_is_read_back(number: object) -> None:
    assert numbers_in(f"it is {number} m.") == [Fraction(str(number))]


@given(st.integers(0, 10**6), st.integers(0, 10**6), words)
def test_a_number_occurs_where_its_value_does_and_nowhere_else(entry: int, other: int, around: str) -> None:
    assert occurs(str(entry), f"{around} {other}m {around}") == (entry == other)


@given(st.text(max_size=60))
def test_graders_answer_any_text_with_a_word(text: str) -> None:
    for one in (item("Paris"), item("68.5"), item(must=(("68", "x"), ("try",))), item(must_not=("68",))):
        verdict = graders.GRADERS[one.grader](one, text)
        assert verdict.word in (VerdictWord.PASSED, VerdictWord.FAILED)
        assert verdict.score == float(verdict.word is VerdictWord.PASSED)


@given(st.text(min_size=1, max_size=20), words)
def test_a_text_between_spaces_occurs(entry: str, around: str) -> None:
    if entry.strip() and graders.whole_number(entry) is None and not numbers_in(entry):
        assert occurs(entry, f"{around} {entry} {around}")


def test_exact_ignores_case_spacing_and_closing_punctuation_only() -> None:
    one = item("Try line")
    assert grade(one, "  TRY   line. ") is VerdictWord.PASSED
    assert grade(one, "the try line") is VerdictWord.FAILED
    assert grade(one, "") is VerdictWord.FAILED
    assert grade(item(None, grader="exact"), "x") is VerdictWord.UNGRADABLE


def test_contains_wants_every_entry_and_no_forbidden_one() -> None:
    one = item(must=(("112",), ("122", "a hundred and twenty-two")), must_not=("68",))
    assert grade(one, "112 to 122 metres") is VerdictWord.PASSED
    assert grade(one, "112 to a hundred and TWENTY-two") is VerdictWord.PASSED
    assert grade(one, "112 metres") is VerdictWord.FAILED
    assert grade(one, "112 to 122 by 68") is VerdictWord.FAILED
    verdict = graders.contains(one, "112 metres")
    assert verdict.reason == "missing '122' or 'a hundred and twenty-two'"


def test_contains_with_only_forbidden_entries_still_wants_an_answer() -> None:
    one = item(must_not=("68", "rugby"))
    assert grade(one, "Football is another game.") is VerdictWord.PASSED
    assert [grade(one, text) for text in ("", " \n", "...", "68 m", "Rugby!")] == [VerdictWord.FAILED] * 5


def test_contains_without_criteria_looks_for_the_answer() -> None:
    one = item("68", grader="contains")
    assert grade(one, "It is 68 m wide.") is VerdictWord.PASSED
    assert grade(one, "It is 69 m wide.") is VerdictWord.FAILED
    assert grade(item(None, grader="contains"), "x") is VerdictWord.UNGRADABLE


def test_numeric_takes_the_last_number_within_the_tolerance() -> None:
    gold = item("48/2 = 24 and so on.\n#### 1,072")
    assert gold.grader == "numeric"
    for text in (
        "1072",
        "first 5, then 1,072.0 apples",
        "#### 1072",
        "$1,072.",
        "it is 7\n#### 1072 (8 x 134)",
    ):
        assert grade(gold, text) is (VerdictWord.FAILED if "(8" in text else VerdictWord.PASSED)
    assert grade(gold, "none") is VerdictWord.FAILED
    assert grade(item("1/3", grader="numeric"), "0.33333333") is VerdictWord.PASSED
    assert grade(item("1/3", grader="numeric"), "0.3333") is VerdictWord.FAILED
    assert grade(item("-5"), "minus: -5") is VerdictWord.PASSED
    assert grade(item("-5"), "5") is VerdictWord.FAILED
    assert grade(item("x", grader="numeric"), "5") is VerdictWord.UNGRADABLE


def test_numeric_tolerance_can_be_set() -> None:
    loose = graders.numeric_within(0.01, absolute=0.5)
    assert loose(item("100"), "101").word is VerdictWord.PASSED
    assert loose(item("100"), "101.1").word is VerdictWord.FAILED
    assert loose(item("0"), "0.5").word is VerdictWord.PASSED
    assert loose(item("0"), "1e308" + "0" * 20).word is VerdictWord.FAILED
    assert "beyond" in loose(item("0"), "1e999").reason


@pytest.mark.parametrize(
    ("answer", "must", "name"),
    [
        ("68", (), "numeric"),
        ("-1,068.5", (), "numeric"),
        ("$5", (), "numeric"),
        ("50%", (), "numeric"),
        ("so\n#### 7", (), "numeric"),
        ("68 m", (), "exact"),
        ("Paris", (), "exact"),
        ("68", (("68",),), "contains"),
    ],
)
def test_the_default_grader_follows_the_item(
    answer: str, must: tuple[tuple[str, ...], ...], name: str
) -> None:
    assert graders.default_grader(answer, must) == name


@pytest.mark.parametrize(
    "one",
    [
        item("Paris"),
        item("+"),
        item("..."),
        item("68"),
        item("-1"),
        item("0"),
        item("3/4"),
        item("long\n#### 1,234"),
        item("1e300"),
        item(must=(("112",), ("122", "a lot"))),
        item(must=(("68",),), must_not=("70", "feet")),
        item(must_not=("68", "I do not know")),
        item("It is 68 m wide", must=(("68",),)),
        item("Paris", grader="contains"),
    ],
)
def test_each_grader_proves_itself(one: EvalItem) -> None:
    prove(one)
    for text in graders.gold_answers(one):
        assert graders.GRADERS[one.grader](one, text).score == 1.0
    wrong = graders.wrong_answers(one)
    assert "" in wrong and len(wrong) > 3
    assert {graders.GRADERS[one.grader](one, text).score for text in wrong} == {0.0}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (item("It is 70 m", must=(("68",),)), "does not pass its own grader 'contains': missing '68'"),
        (item(must=(("68",),), must_not=("68",)), "contains '68', which must not occur"),
        (item(must=(("68", "70"),), must_not=("70",)), "gold answer '70' does not pass"),
        (item("x", must=(("68",),), grader="exact"), "reads only 'answer'"),
        (item("no number", grader="numeric"), "does not pass its own grader 'numeric'"),
        (item(must=(("{",),)), "passes the wrong answer"),
        (item("x", grader="exakt"), "no grader is called 'exakt'"),
        (item(must_not=("i", "else", "hmm")), "no gold answer can be built"),
    ],
)
def test_an_item_that_cannot_be_graded_is_named(one: EvalItem, message: str) -> None:
    with pytest.raises(EvaluationError, match="item 'an-item'") as caught:
        prove(one)
    assert message in str(caught.value)


def test_graders_of_others_join_and_have_to_prove_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def starts(one: EvalItem, text: str) -> Verdict:
        found = bool(text) and text.startswith(one.answer or "?")
        return graders.passed("starts so") if found else graders.failed("starts otherwise")

    def always(one: EvalItem, text: str) -> Verdict:
        return graders.passed("why not")

    def broken(one: EvalItem, text: str) -> Verdict:
        raise ZeroDivisionError("oh")

    for name, grade_so in {"starts": starts, "always": always, "broken": broken}.items():
        grader = graders.Grader(name, grade_so, graders.gold_answers, graders.wrong_answers)
        monkeypatch.setitem(graders.GRADERS, name, grader)
    prove(item("Paris", grader="starts"))
    with pytest.raises(EvaluationError, match="passes the wrong answer ''"):
        prove(item("Paris", grader="always"))
    with pytest.raises(EvaluationError, match="grader 'broken' failed on 'Paris': ZeroDivisionError: oh"):
        prove(item("Paris", grader="broken"))
