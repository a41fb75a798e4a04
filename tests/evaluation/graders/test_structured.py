"""Labels, choices, entities, JSON and tool calls: verdicts, figures with twins, and what a bad item is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import classification_report, confusion_matrix

from luthier.errors import EvaluationError
from luthier.evaluation.graders.choice import CHOICE, chosen
from luthier.evaluation.graders.extraction import EXTRACTION
from luthier.evaluation.graders.json_answer import field_accuracy, json_answer
from luthier.evaluation.graders.labels import classification, label_of
from luthier.evaluation.graders.proof import prove_with
from luthier.evaluation.graders.tool_calls import TOOL_CALLS, calls_in
from tests.evaluation.graders.items import figures, graded, item

CHOICES = ["Paris", "Rome", "Bern", "a Greek city"]
LABELS = ("card lost", "card", "top up")
PEOPLE = [{"text": "Ada Lovelace", "label": "person"}, {"text": "London", "label": "place"}]
SCHEMA = {"type": "object", "required": ["city"], "properties": {"people": {"type": "integer"}}}
CALL = {"name": "weather", "arguments": {"city": "Bern", "days": 3}}


@pytest.mark.parametrize(
    ("grader", "one"),
    [
        (CHOICE, item("Rome", choices=CHOICES)),
        (CHOICE, item("D", choices=CHOICES)),
        (CHOICE, item("0", choices=CHOICES)),
        (classification(LABELS), item("card")),
        (classification(LABELS), item("Card Lost")),
        (EXTRACTION, item(PEOPLE)),
        (EXTRACTION, item({"person": ["Ada Lovelace"], "place": "London"})),
        (EXTRACTION, item([])),
        (json_answer(), item({"a": [1, {"b": None}], "c": "x"})),
        (json_answer(), item([])),
        (json_answer(), item("true")),
        (json_answer(SCHEMA), item({"city": "Bern", "people": 3})),
        (TOOL_CALLS, item([CALL])),
        (TOOL_CALLS, item([CALL, {"name": "time", "arguments": {}}])),
        (TOOL_CALLS, item([])),
    ],
)
def test_each_proves_itself(grader: Any, one: Any) -> None:
    prove_with(grader, one)
    assert {grader.grade(one, text).score for text in grader.golds(one)} == {1.0}
    assert {grader.grade(one, text).score for text in grader.wrongs(one)} == {0.0}
    assert "" in grader.wrongs(one)


@pytest.mark.parametrize(
    ("grader", "one", "message"),
    [
        (CHOICE, item("Oslo", choices=CHOICES), "'Oslo' names none of the 4 choices"),
        (CHOICE, item("A", choices=["Rome", "rome."]), "two read alike"),
        (CHOICE, item("A"), "expected a list of 2 to 26 texts"),
        (classification(LABELS), item("cash"), "is none of the 3 labels"),
        (EXTRACTION, item("no JSON"), "field 'answer'"),
        (EXTRACTION, item([{"text": "Ada"}]), "an entity is not a text with a label"),
        (json_answer(), item("{"), "is not JSON"),
        (json_answer(SCHEMA), item({"people": 3}), "does not pass its own grader 'json': breaks the schema"),
        (TOOL_CALLS, item([{"arguments": {}}]), "expected a name with arguments"),
    ],
)
def test_an_item_that_cannot_be_graded_is_named(grader: Any, one: Any, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        prove_with(grader, one)
    assert "item 'an-item'" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", 1),
        ("(b)", 1),
        ("B. Rome", 1),
        ("**B**: because", 1),
        ("rome.", 1),
        ("The answer is C.", 2),
        ("First I thought the answer is A, but the correct answer is (D)", 3),
        ("a Greek city", 3),
        ("A good question, let me think.", None),
        ("It is Paris or Rome", None),
        ("Z", None),
        ("", None),
    ],
)
def test_how_a_choice_is_named(text: str, letter: int | None) -> None:
    assert chosen(item("A", choices=CHOICES), text) == letter


def test_a_label_is_found_once_and_the_longer_hides_the_shorter() -> None:
    assert label_of("CARD LOST.", LABELS) == "card lost"
    assert label_of("The intent is card lost", LABELS) == "card lost"
    assert label_of("I think: top up!", LABELS) == "top up"
    assert label_of("card or top up", LABELS) is None
    assert label_of("", LABELS) is None


answers = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "?"])), min_size=1, max_size=30
)


@given(answers)
def test_classification_figures_equal_their_twin(said: list[tuple[str, str]]) -> None:
    grader = classification(LABELS)
    pairs = [(item(gold, identity=str(i)), answer) for i, (gold, answer) in enumerate(said)]
    found = figures(grader, pairs)
    gold, predicted = [g for g, _ in said], [a if a != "?" else "(no label)" for _, a in said]
    present = sorted((set(gold) | set(predicted)) - {"(no label)"})
    twin = classification_report(gold, predicted, labels=present, output_dict=True, zero_division=0.0)
    assert found["macro_f1"] == pytest.approx(twin["macro avg"]["f1-score"])
    assert found["weighted_f1"] == pytest.approx(twin["weighted avg"]["f1-score"])
    assert found["macro_precision"] == pytest.approx(twin["macro avg"]["precision"])
    assert found["macro_recall"] == pytest.approx(twin["macro avg"]["recall"])
    assert found["accuracy"] == pytest.approx(sum(g == p for g, p in said) / len(said))
    tables = grader.tables(graded(grader, pairs))
    names = tables["confusion"]["labels"]
    matrix = tables["confusion"]["gold_by_predicted"]
    if len(names) > 1:  # of one label alone scikit-learn warns
        assert matrix == confusion_matrix(gold, predicted, labels=names).tolist()
    assert sum(map(sum, matrix)) == len(said)


def test_labels_have_to_differ() -> None:
    for labels in (("spam",), ("spam", "SPAM ")):
        with pytest.raises(EvaluationError, match="labels: expected two or more"):
            classification(labels)


def test_entities_whole_and_in_part() -> None:
    one = item(PEOPLE)
    half = [{"text": "Lovelace", "label": "person"}, {"text": "london", "label": "place"}]
    verdict = EXTRACTION.grade(one, str(half).replace("'", '"'))
    assert verdict.score == 0.5  # 1 of 2 found, 1 of 2 wrong
    found = figures(EXTRACTION, [(one, str(half).replace("'", '"')), (item([]), "[]"), (one, "prose")])
    # hits 1; found 2, wanted 4; in part: London 1 + Lovelace 2 x 1 / (2 + 1)
    assert found["exact_precision"] == pytest.approx(1 / 2)
    assert found["exact_recall"] == pytest.approx(1 / 4)
    assert found["exact_f1"] == pytest.approx(2 / 6)
    assert found["partial_f1"] == pytest.approx(2 * (1 + 2 / 3) / 6)
    assert found["malformed"] == pytest.approx(1 / 3)
    nothing = figures(EXTRACTION, [(one, "[]")])  # nothing was said, so nothing was said rightly
    assert (nothing["exact_precision"], nothing["exact_recall"], nothing["exact_f1"]) == (0, 0, 0)
    assert figures(EXTRACTION, [(item([]), "[]")])["exact_precision"] == 1
    table = EXTRACTION.tables(graded(EXTRACTION, [(one, str(half).replace("'", '"'))]))["by_label"]
    assert (table["person"]["f1"], table["place"]["f1"]) == (0.0, 1.0)


def test_the_same_entity_twice_has_to_be_found_twice() -> None:
    twice = item([PEOPLE[1], PEOPLE[1]])
    assert EXTRACTION.grade(twice, '[{"text": "London", "label": "place"}]').score == pytest.approx(2 / 3)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc ", max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("xy", max_size=2), below, max_size=3),
    max_leaves=8,
)


@given(values, values)
def test_field_accuracy_is_a_share_and_symmetric(one: Any, other: Any) -> None:
    assert field_accuracy(one, one) == 1.0
    assert 0 <= field_accuracy(one, other) == field_accuracy(other, one) <= 1


@given(values)
def test_json_proves_itself_on_any_value(value: Any) -> None:
    prove_with(json_answer(), item([value]))


def test_json_fields_schema_and_fences() -> None:
    grader = json_answer(SCHEMA)
    gold = item({"city": "Bern", "people": 3})
    assert grader.grade(gold, '{"city": "Bern", "people": 4}').score == 0.5
    assert grader.grade(gold, '{"city": " Bern", "people": 3.0, "more": 1}').score == pytest.approx(2 / 3)
    broken = grader.grade(gold, '{"people": "3"}')
    assert broken.score == 0.0 and "breaks the schema" in broken.reason
    fenced = '```json\n{"city": "Bern", "people": 3}\n```'
    found = figures(grader, [(gold, fenced), (gold, '{"people": "3"}'), (gold, "Bern"), (gold, fenced[8:-4])])
    assert found == {
        "accuracy": 0.5,
        "field_accuracy": 0.5,
        "valid": 0.75,
        "bare": 0.5,
        "schema_valid": 0.5,
    }
    assert grader.grade(gold, '{"city": NaN}').score == 0.0
    assert json_answer().grade(item({"a": True}), '{"a": 1}').score == 0.0


def test_a_schema_that_is_none_is_told() -> None:
    with pytest.raises(EvaluationError, match="is not a JSON Schema, at properties/a/type"):
        json_answer({"properties": {"a": {"type": "whole"}}})


def test_tool_calls_are_read_and_held_against_the_gold_ones() -> None:
    one, none = item([CALL]), item([])
    block = '<tool_call>{"name": "weather", "arguments": {"days": 3, "city": "Bern"}}</tool_call>'
    assert TOOL_CALLS.grade(one, f"I look it up.\n{block}").score == 1.0
    openai = '{"function": {"name": "weather", "arguments": "{\\"city\\": \\"Bern\\", \\"days\\": 3}"}}'
    assert TOOL_CALLS.grade(one, openai).score == 1.0
    wrong = block.replace("3", "4")
    assert TOOL_CALLS.grade(one, wrong).details["arguments"] == 0.5
    assert TOOL_CALLS.grade(none, block).score == 0.0
    assert TOOL_CALLS.grade(none, "It is five.").score == 1.0
    found = figures(TOOL_CALLS, [(one, block), (one, wrong), (none, block), (none, "Hello.")])
    assert found == {"accuracy": 0.5, "right_tools": 1.0, "arguments": 0.75, "needless_calls": 0.5}
    assert calls_in("see [1] for more") == []
    with pytest.raises(ValueError, match="begun and not ended"):
        calls_in("<tool_call>{")


@given(st.text(max_size=60))
def test_any_text_gets_a_word(text: str) -> None:
    for grader, one in (
        (CHOICE, item("B", choices=CHOICES)),
        (classification(LABELS), item("card")),
        (EXTRACTION, item(PEOPLE)),
        (json_answer(SCHEMA), item({"city": "Bern"})),
        (TOOL_CALLS, item([CALL])),
    ):
        verdict = grader.grade(one, text)
        assert 0 <= verdict.score <= 1 and (verdict.word == "passed") == (verdict.score == 1)
