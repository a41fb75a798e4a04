"""The router learns whose question is whose, declines what is nobody's, and is the same after saving."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import roc_auc_score

from luthier.errors import ServingError
from luthier.serving.router import Router, Word, load_router, save_router
from luthier.serving.router.features import counts, inverse_document_frequency, num_buckets, weighted
from luthier.serving.router.report import auroc, evaluate_router, regret, without_harm
from luthier.serving.router.router import GENERAL
from luthier.serving.router.training import train_router
from tests.serving.router.questions import some


@pytest.fixture(scope="module")
def router() -> Router:
    questions = some(60)
    return train_router(questions, questions.pop("base"))


def test_weights_are_those_of_scikit_learn() -> None:
    texts = ["the cat sat", "the dog sat down", "a bird", "", "the the the cat"]
    counted = counts(texts, 1 << 12)
    ours = weighted(counted, inverse_document_frequency(counted))
    plain = counted.copy()
    plain.data = np.exp(plain.data - 1)  # the counts themselves
    twin = TfidfTransformer(sublinear_tf=True).fit(plain).transform(plain)
    assert abs(ours - twin).max() < 1e-6


def test_new_questions_find_their_owner(router: Router) -> None:
    unseen = {name: [q for q in rows if q not in some(60)[name]] for name, rows in some(160, seed=1).items()}
    report = evaluate_router(router, {name: unseen[name] for name in router.specialists}, unseen["base"])
    assert report.accuracy > 0.97 and min(report.recall.values()) > 0.9
    assert report.auroc is not None and report.auroc > 0.97 and report.calibration_error < 0.15
    shares = [share for share, _ in report.curve]
    assert shares == sorted(shares) and shares[-1] == 1 and report.curve[-1][1] == report.accuracy


def test_the_order_of_questions_changes_nothing(router: Router) -> None:
    questions = {name: rows[::-1] for name, rows in reversed(some(60).items())}
    again = train_router(questions, questions.pop("base"))
    assert again.trained_on == router.trained_on
    assert np.allclose(again.probabilities(["bake a pie"]), router.probabilities(["bake a pie"]), atol=1e-4)


def test_words_of_a_decision(router: Router) -> None:
    assert router.route("How do I bake a pie?").specialist == "cooking"
    assert router.route("How do I bake a pie?").word is Word.ROUTED
    general = router.route("Give me a description of Paris")
    assert general.word is Word.BASE and general.specialist is None
    two = router.decide(np.array([0.45, 0.4, 0.05, 0.1]))
    assert two.word is Word.SHARED and (two.specialist, two.others) == ("banking", ("cooking",))
    unsure = router.decide(np.array([0.39, 0.24, 0.24, 0.13]))
    assert unsure.word is Word.UNSURE and unsure.specialist is None and unsure.others == ("banking",)
    assert sum(router.route("").probabilities.values()) == pytest.approx(1)


def test_reasons_are_words_of_the_question(router: Router) -> None:
    reasons = router.explain("Please prune the roses!", "gardening")
    assert reasons[0][1] > 0 and "prune" in dict(reasons) and "the roses" in dict(reasons)
    with pytest.raises(ServingError, match="expected a specialist of this router, got 'golf'"):
        router.explain("x", "golf")


def test_saved_and_loaded_it_decides_the_same(router: Router, tmp_path: Path) -> None:
    save_router(router, tmp_path / "router")
    again = load_router(tmp_path / "router")
    asked = [question for rows in some(20, seed=3).values() for question in rows]
    assert np.array_equal(again.probabilities(asked), router.probabilities(asked))
    assert again.thresholds == router.thresholds and again.trained_on == router.trained_on


@pytest.mark.parametrize("damage", ["gone", "torn", "other"])
def test_a_damaged_router_is_refused(router: Router, tmp_path: Path, damage: str) -> None:
    save_router(router, tmp_path)
    if damage == "gone":
        (tmp_path / "router.json").unlink()
    elif damage == "torn":
        whole = (tmp_path / "router.safetensors").read_bytes()
        (tmp_path / "router.safetensors").write_bytes(whole[: len(whole) // 2])
    else:
        text = (tmp_path / "router.json").read_text()
        (tmp_path / "router.json").write_text(text.replace('"banking",', '"banking", "golf",'))
    with pytest.raises(ServingError, match="expected"):
        load_router(tmp_path)


def test_many_specialists_and_one() -> None:
    many = {f"s{n}": [f"word{n}x{k} of subject{n}" for k in range(8)] for n in range(70)}
    router = train_router(many, [f"something else {k}" for k in range(20)])
    assert [router.route(f"tell me of subject{n}").specialist for n in (0, 33, 69)] == ["s0", "s33", "s69"]
    alone = train_router({"s0": many["s0"]}, [f"something else {k}" for k in range(20)])
    assert alone.route("a subject0 question").specialist == "s0" and alone.route("else").specialist is None
    assert num_buckets(10) == 1 << 16 and 2 * num_buckets(1001) * 1001 * 4 <= 1 << 27


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ({}, "at least one specialist"),
        ({"a": ["one", "two"]}, "a: expected at least 5 different questions, found 2"),
        ({"base": [str(n) for n in range(9)]}, "cannot be called 'base'"),
        (
            {"a": [str(n) for n in range(9)], "b": ["X", "2 ", "p", "q", "r"]},
            "'2 ' is a question of a and of b",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused(questions: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ServingError, match=said):
        train_router(questions, ["k", "l", "m", "n", "o"])


def test_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 30).round(1)
    labels = [1] * 40 + [0] * 30
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(labels, np.concatenate([inside, outside])))


def test_regret_against_the_best_of_all(router: Router) -> None:
    items = ["How do I bake a pie?", "Please prune the roses!", "Give me a description of Paris"]
    scores = {
        "cooking": [1.0, 0.0, 0.0],
        "gardening": [0.0, 0.2, 0.0],
        "banking": [0.0, 0.9, 0.0],
        GENERAL: [0.5, 0.4, 0.6],
    }
    found = regret(router, items, scores)
    assert (found.chosen, found.best, found.base) == pytest.approx((0.6, 2.5 / 3, 0.5))
    assert found.regret == pytest.approx(found.best - found.chosen)
    assert (found.harmed, found.harm) == (1, pytest.approx(0.2 / 3))  # the roses: the base knew better
    with pytest.raises(ServingError, match="expected 3 scores of each of banking, base, cooking, gardening"):
        regret(router, items, {"cooking": [1.0]})


def test_adding_a_specialist_that_takes_others_questions_is_told(router: Router) -> None:
    asked = some(40, seed=5)
    general = asked.pop("base")
    before = evaluate_router(router, asked, general)
    assert without_harm(before, before) == []
    worse = replace(before, recall=before.recall | {"cooking": 0.5}, general_kept=0.1)
    assert without_harm(before, worse)[0].startswith("cooking:")
    assert "general questions" in without_harm(before, worse)[1]


def test_owners_that_the_router_does_not_know(router: Router) -> None:
    with pytest.raises(ServingError, match="got some of 'golf'"):
        evaluate_router(router, {"golf": ["a"]})
    with pytest.raises(ServingError, match="at least one question"):
        evaluate_router(router, {"cooking": []})


def by_meaning(texts: Sequence[str]) -> NDArray[np.float32]:
    """A toy embedder: a direction for food, one for plants, one for money, one for all else."""
    kinds = (
        "egg|soup|rice|trout|noodles|pie|omelette",
        "rose|hedge|tomato|lawn|oak|bulb|orchid",
        "salar|pound|fee|cash|cheque|saving|dosh",
    )
    found = [next((k for k, words in enumerate(kinds) if re.search(words, text)), 3) for text in texts]
    return np.eye(4, dtype=np.float32)[found]


def test_what_words_mean_is_read_where_an_embedder_is_handed_in(router: Router, tmp_path: Path) -> None:
    questions = some(60)
    reading = train_router(questions, questions.pop("base"), embed=by_meaning)
    foreign = "Whither the orchid"  # shares no word with any question
    assert router.route(foreign).specialist != "gardening"
    assert reading.route(foreign).specialist == "gardening"
    save_router(reading, tmp_path / "router")
    again = load_router(tmp_path / "router", lambda: by_meaning)
    assert np.array_equal(again.probabilities([foreign]), reading.probabilities([foreign]))
    assert again.explain("water the roses", "gardening")[0][1] > 0
    with pytest.raises(ServingError, match="reads meaning; hand load_router an embedder"):
        load_router(tmp_path / "router")
