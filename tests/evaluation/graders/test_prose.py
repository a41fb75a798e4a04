"""Similarity, retrieval, rules, refusals and graders of one's own."""

from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from luthier.errors import EvaluationError
from luthier.evaluation.graders.custom import custom
from luthier.evaluation.graders.proof import prove_with
from luthier.evaluation.graders.refusal import REFUSAL
from luthier.evaluation.graders.retrieval import RETRIEVAL, faithfulness, normalised, retrieval, token_f1
from luthier.evaluation.graders.rules import RULES, RULES_BY_NAME
from luthier.evaluation.graders.similarity import similarity
from tests.evaluation.graders.items import figures, item

GOLD = "The quick brown fox jumps over the lazy dog."
CONTEXT = "The field is 68 metres wide and 112 metres long. It was laid out in 1895."


def rules(answer: str, *given: tuple[str, Any]) -> Any:
    listed = [{"rule": name} | ({} if value is None else {"value": value}) for name, value in given]
    return item(answer, rules=listed)


EVERY_RULE = [
    rules("one two three", ("min_words", 2), ("max_words", 3)),
    rules("One. Two? Three", ("min_sentences", 3), ("max_sentences", 3)),
    rules("a\n\nb", ("paragraphs", 2)),
    rules("- a\n- b\n3. c", ("bullets", 3)),
    rules("the sky is blue", ("includes", "blue"), ("excludes", "red"), ("lowercase", None)),
    rules("THE END", ("starts_with", "THE"), ("ends_with", "END"), ("uppercase", None)),
    rules("AB12", ("matches", "[A-Z]+[0-9]+"), ("no_commas", None)),
    rules('{"a": 1}', ("json", None)),
]


@pytest.mark.parametrize(
    ("grader", "one"),
    [
        *((similarity(measure), item(GOLD)) for measure in ("chrf", "bleu", "rouge_l")),
        (similarity(), item(references=[GOLD, "Two"])),
        (similarity(), item("日本語の文")),
        (RETRIEVAL, item("68 metres", context=CONTEXT)),
        (RETRIEVAL, item(answers=["68 metres", "68 m"], context=CONTEXT)),
        (RETRIEVAL, item(answers=[], context=CONTEXT)),
        *((RULES, one) for one in EVERY_RULE),
        (REFUSAL, item(refuse=True)),
        (REFUSAL, item("Boil it for ten minutes.", refuse=False)),
    ],
)
def test_each_proves_itself(grader: Any, one: Any) -> None:
    prove_with(grader, one)
    assert {grader.grade(one, text).score for text in grader.wrongs(one)} == {0.0}


def test_every_rule_is_proved_here() -> None:
    assert {entry["rule"] for one in EVERY_RULE for entry in one.fields["rules"]} == set(RULES_BY_NAME)


@pytest.mark.parametrize(
    ("grader", "one", "message"),
    [
        (similarity(), item(), "expected 'answer' or a list of texts in 'references'"),
        (similarity("rouge_l"), item("日本語"), "does not pass its own grader 'similarity'"),
        (RETRIEVAL, item("68"), "field 'context': expected a text"),
        (RETRIEVAL, item(context=CONTEXT), "empty where the context does not say"),
        (RULES, item("x"), "field 'rules': expected a list"),
        (RULES, rules("x", ("shout", None)), "no rule is called 'shout'"),
        (RULES, rules("x", ("max_words", "ten")), "max_words takes a 'value' that is a whole number"),
        (RULES, rules("x", ("json", 3)), "json takes no value"),
        (RULES, rules("one two", ("max_words", 1)), "breaks max_words 1"),
        (REFUSAL, item(refuse="yes"), "expected true or false, found 'yes'"),
    ],
)
def test_an_item_that_cannot_be_graded_is_named(grader: Any, one: Any, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        prove_with(grader, one)
    assert "item 'an-item'" in str(caught.value) and message in str(caught.value)


def test_similarity_figures_equal_their_twins() -> None:
    answers = ["The quick fox jumps over a dog.", "It rains in Bern today", "nothing"]
    references = [[GOLD], ["It is raining in Bern today.", "Rain in Bern"], ["something else"]]
    pairs = [
        (item(references=texts, identity=str(i)), answer)
        for i, (texts, answer) in enumerate(zip(references, answers, strict=True))
    ]
    found = figures(similarity(), pairs)
    streams = [[texts[k] if k < len(texts) else None for texts in references] for k in range(2)]
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, streams).score / 100)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(answers, streams).score / 100)
    rouge = RougeScorer(["rougeL"])
    best = [
        max(rouge.score(text, answer)["rougeL"].fmeasure for text in texts)
        for texts, answer in zip(references, answers, strict=True)
    ]
    assert found["rouge_l"] == pytest.approx(sum(best) / 3)
    score = similarity("bleu").grade(pairs[0][0], answers[0]).score
    twin = sacrebleu.sentence_bleu(answers[0], [GOLD], use_effective_order=True).score / 100
    assert score == pytest.approx(twin, abs=1e-8)
    with pytest.raises(EvaluationError, match="measure: expected one of chrf, bleu, rouge_l"):
        similarity("bert")


def test_a_question_on_a_context() -> None:
    one = item(answers=["68 metres", "sixty-eight metres"], context=CONTEXT)
    nowhere = item(answers=[], context=CONTEXT)
    assert normalised("The 68  metres.") == "68 metres"
    assert token_f1("it is 68 metres wide", "68 metres") == pytest.approx(4 / 7)
    assert RETRIEVAL.grade(one, "68 metres").score == 1.0
    assert RETRIEVAL.grade(one, "It is 68 metres wide").score == pytest.approx(4 / 7)
    assert RETRIEVAL.grade(one, "I do not know.").details["abstained"]
    assert RETRIEVAL.grade(nowhere, "That is not in the context.").score == 1.0
    assert RETRIEVAL.grade(nowhere, "In 1895").score == 0.0
    assert faithfulness("the field is 68 metres wide", CONTEXT) == 1.0
    assert faithfulness("70 metres", CONTEXT) == 0.5
    found = figures(
        RETRIEVAL,
        [
            (one, "68 metres"),
            (one, "70 metres"),
            (one, "I don't know"),
            (nowhere, "not stated"),
            (nowhere, "1895"),
        ],
    )
    assert found == {
        "score": pytest.approx((1 + 0.5 + 0 + 1 + 0) / 5),
        "exact_match": pytest.approx(1 / 3),
        "token_f1": pytest.approx(1.5 / 3),
        "faithfulness": pytest.approx(2.5 / 3),
        "abstained_rightly": 0.5,
        "abstained_wrongly": pytest.approx(1 / 3),
    }
    assert "abstained_rightly" not in figures(RETRIEVAL, [(one, "68 metres")])
    german = retrieval(["steht nicht im Text"])
    assert german.grade(nowhere, "Das steht nicht im Text.").score == 1.0
    assert german.grade(nowhere, "not stated").score == 0.0


def test_rules_count_whole_answers_and_single_rules() -> None:
    one = rules("yes it is", ("max_words", 3), ("lowercase", None))
    assert RULES.grade(one, "Yes it is").reason == "breaks lowercase"
    found = figures(RULES, [(one, "yes"), (one, "Yes"), (one, "")])
    assert found == {"all_rules_kept": pytest.approx(1 / 3), "rules_kept": pytest.approx(1.5 / 3)}


def test_refusing_too_much_and_too_little() -> None:
    must, may = item(refuse=True), item(refuse=False)
    pairs = [
        (must, "I can’t help with that."),
        (must, "Sure."),
        (may, "I'm sorry, but no."),
        (may, "Boil it."),
    ]
    assert figures(REFUSAL, pairs) == {"accuracy": 0.5, "refused": 0.5, "over_refused": 0.5}


def test_a_grader_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def grade(row, answer):\n"
        "    return answer == (row['answer'][::-1] if row['turn'] else row['answer'])\n"
        "def always(row, answer):\n    return 1\n"
        "def lost(row, answer):\n    return None\n"
    )
    grader = custom(file, "grade", ("turn",))
    prove_with(grader, item("level", turn=True))
    assert grader.grade(item("abc", turn=True), "cba").score == 1.0
    for function, message in (
        ("always", "passes the wrong answer ''"),
        ("lost", "gave None; expected a score"),
    ):
        with pytest.raises(EvaluationError, match=message):
            prove_with(custom(file, function), item("x"))
    with pytest.raises(EvaluationError, match="has no function 'absent'; it has: grade, always, lost"):
        custom(file, "absent")
    with pytest.raises(EvaluationError, match="no such Python file"):
        custom(tmp_path / "other.py", "grade")
    file.write_text("import nowhere_at_all")
    with pytest.raises(EvaluationError, match="cannot be run: ModuleNotFoundError"):
        custom(file, "grade")
