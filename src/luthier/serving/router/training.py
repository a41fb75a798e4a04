"""Questions by specialist -> a router.

Temperature and thresholds come from every fifth question, with weights learnt from the others; then the weights are
learnt again from all. Which are kept out goes by their hash, so the same questions give the same router, whatever
their order. A specialist with few questions counts as much as one with many. Knows nothing of stores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from luthier.errors import ServingError
from luthier.hashing import hash_json, hash_text
from luthier.serving.router.features import (
    Embed,
    counts,
    inverse_document_frequency,
    num_buckets,
    weighted,
    with_meaning,
)
from luthier.serving.router.router import GENERAL, Router, Thresholds

_FEWEST = 5  # questions of a class: fewer cannot be learnt from and measured on
_KEPT_OUT = 5  # every fifth
_EXACT_CLASSES = 64  # above, a stochastic solver: minutes otherwise

_Questions = list[tuple[str, int]]
"""Each with the number of its class."""


def train_router(
    questions: Mapping[str, Sequence[str]],
    general: Sequence[str],
    *,
    target_abstention: float = 0.02,
    embed: Embed | None = None,
) -> Router:
    """A router between the specialists of `questions` and the base, whose own matter `general` shows.

    `target_abstention`: the share of kept-out questions of specialists that may be left unanswered by them; the
    threshold for `general` is as low as this allows. `embed`: the router reads what questions mean, too. Raises
    ServingError where a class has too few questions, or a question belongs to two classes.
    """
    names = tuple(sorted(questions))
    classes = [list(dict.fromkeys(questions[name])) for name in names] + [list(dict.fromkeys(general))]
    _check(names, classes)
    of_all = {name: len(found) for name, found in zip((*names, GENERAL), classes, strict=True)}
    trained_on = {"questions": of_all, "hash": hash_json([sorted(found) for found in classes])}
    learnt_from, kept_out = _split(classes)
    once = None if embed is None else _once(embed)
    first = _learnt(names, learnt_from, trained_on, once)
    temperature, thresholds = _calibration(first, kept_out, target_abstention)
    whole = _learnt(names, [*learnt_from, *kept_out], trained_on, once)
    return replace(whole, temperature=temperature, thresholds=thresholds, embed=embed)


def _once(embed: Embed) -> Embed:
    """The same vectors, each computed once: they are read three times here and are dear."""
    known: dict[str, NDArray[np.float32]] = {}

    def remembered(texts: Sequence[str]) -> NDArray[np.float32]:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, embed(new), strict=True))
        return np.stack([known[text] for text in texts])

    return remembered


def _check(names: Sequence[str], classes: Sequence[Sequence[str]]) -> None:
    if not names:
        raise ServingError("expected the questions of at least one specialist")
    for name, found in zip((*names, "the base (--general)"), classes, strict=True):
        if len(found) < _FEWEST:
            raise ServingError(
                f"{name}: expected at least {_FEWEST} different questions, found {len(found)}; without them nothing "
                "can be learnt and measured"
            )
    if GENERAL in names:
        raise ServingError(
            f"a specialist cannot be called {GENERAL!r}: that is the class of all other questions"
        )
    owner: dict[str, str] = {}
    for name, found in zip((*names, GENERAL), classes, strict=True):
        for text in found:
            if (first := owner.setdefault(text.strip().casefold(), name)) != name:
                raise ServingError(
                    f"{text[:80]!r} is a question of {first} and of {name}; take it out of one of them"
                )


def _split(classes: Sequence[Sequence[str]]) -> tuple[_Questions, _Questions]:
    """(what is learnt from, what is kept out)."""
    learnt_from, kept_out = [], []
    for label, texts in enumerate(classes):
        ordered = sorted(texts, key=hash_text)
        kept = max(1, len(ordered) // _KEPT_OUT)
        kept_out += [(text, label) for text in ordered[:kept]]
        learnt_from += [(text, label) for text in ordered[kept:]]
    return learnt_from, kept_out


def _learnt(
    names: tuple[str, ...], questions: _Questions, trained_on: dict[str, Any], embed: Embed | None
) -> Router:
    """A router without calibration."""
    texts = [text for text, _ in questions]
    counted = counts(texts, num_buckets(len(names) + 1))
    idf_F = inverse_document_frequency(counted)
    labels_N = np.array([label for _, label in questions])
    words = weighted(counted, idf_F)
    vectors = words if embed is None else with_meaning(words, texts, embed)
    weights_FC, bias_C = _fit(vectors, labels_N, len(names) + 1)
    return Router(names, weights_FC, bias_C, idf_F, 1.0, Thresholds(), trained_on, embed)


def _fit(
    vectors: object, labels: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One class against the rest, each class of the same weight: (F, C) and (C,)."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.svm import LinearSVC

    if num_classes <= _EXACT_CLASSES:
        found = LinearSVC(C=2.0, class_weight="balanced", random_state=0).fit(vectors, labels)
    else:
        found = SGDClassifier(
            loss="modified_huber", alpha=1e-5, max_iter=20, tol=1e-3, class_weight="balanced", random_state=0
        ).fit(vectors, labels)
    weights_CF, bias_C = found.coef_, found.intercept_
    if num_classes == 2:  # one line between the two
        weights_CF, bias_C = np.vstack([-weights_CF, weights_CF]), np.concatenate([-bias_C, bias_C])
    return np.ascontiguousarray(weights_CF.T, dtype=np.float32), np.asarray(bias_C, dtype=np.float32)


def _calibration(router: Router, kept_out: _Questions, target_abstention: float) -> tuple[float, Thresholds]:
    """The temperature of the least negative log-likelihood on questions that the weights never saw, and thresholds."""
    labels_N = np.array([label for _, label in kept_out])
    logits_NC = router.logits(router.vectors([text for text, _ in kept_out]))

    def cost(log_temperature: float) -> float:
        log_p_NC = log_softmax(logits_NC / np.exp(log_temperature), axis=1)
        return -float(log_p_NC[np.arange(len(labels_N)), labels_N].mean())

    best = minimize_scalar(cost, bounds=(np.log(0.02), np.log(10.0)), method="bounded")
    temperature = float(np.exp(best.x))
    general_N = softmax(logits_NC / temperature, axis=1)[labels_N < len(router.specialists), -1]
    general = float(np.clip(np.quantile(general_N, 1 - target_abstention), 0.2, 0.8))
    return temperature, Thresholds(general=general)
