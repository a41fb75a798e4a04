"""The router on banking queries: ten specialists by subject, beside a keyword router, on the same questions.

    python benchmarks/router.py --banking banking77_train.csv --general rows.json --off-domain other.jsonl...

Every fifth query of BANKING77 (text,category) by a seeded shuffle is the test, the others train; its 77 intents are
grouped by subject below. `--general` files teach what is nobody's; four fifths of them train. `--off-domain` files are
never trained on: kinds of text that the router meets for the first time. The peer answers for the specialist most of
whose twenty most distinctive words (highest tf-idf) stand in the question, and for the base where none does. Decisions
are timed one at a time, in this process, with 10 and with 1,000 specialists; the latter have seven queries each.
"""

import argparse
import csv
import json
import random
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from luthier.data.questions import read_questions
from luthier.data.semantic import open_embedder
from luthier.serving.router import Router
from luthier.serving.router.report import auroc, evaluate_router
from luthier.serving.router.training import train_router

SUBJECTS = {
    "top-ups": r"top.?up|topping",
    "identity": r"verify|identity|edit_personal|age_limit|terminate|passcode",
    "cash": r"cash|atm|cheque|swallowed",
    "exchange": r"exchange|fiat|supported_cards|country|visa_or",
    "refunds-and-charges": r"refund|reverted|extra_charge|charged_twice|fee_charged",
    "transfers": r"transfer|beneficiary|receiving",
    "virtual-cards": r"virtual|disposable|apple_pay|spare",
    "lost-and-pin": r"lost|compromised|pin|phone",
    "payments": r"card_payment|direct_debit|declined|contactless|acceptance",
    "cards": r".",
}
_WORDS_OF_A_SPECIALIST = 20


def subject(intent: str) -> str:
    """The first subject whose pattern the intent's name holds."""
    return next(name for name, pattern in SUBJECTS.items() if re.search(pattern, intent.lower()))


def by_subject(path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(train, test): queries by subject."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], subject(row["category"])) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    cut = len(rows) * 4 // 5
    train: dict[str, list[str]] = {name: [] for name in SUBJECTS}
    test: dict[str, list[str]] = {name: [] for name in SUBJECTS}
    for number, (text, name) in enumerate(rows):
        (train if number < cut else test)[name].append(text)
    return train, test


class KeywordRouter:
    """The peer: most hits among each specialist's most distinctive words."""

    def __init__(self, questions: dict[str, list[str]]) -> None:
        vectorizer = TfidfVectorizer(stop_words="english")
        weights = vectorizer.fit_transform([" ".join(rows) for rows in questions.values()]).toarray()
        words = np.array(vectorizer.get_feature_names_out())
        best = np.argsort(-weights, axis=1)[:, :_WORDS_OF_A_SPECIALIST]
        self.words = {name: set(words[row]) for name, row in zip(questions, best, strict=True)}

    def hits(self, text: str) -> dict[str, int]:
        """How many of each specialist's words stand in the text."""
        found = set(re.findall(r"\w+", text.lower()))
        return {name: len(found & words) for name, words in self.words.items()}


def milliseconds(router: Router, texts: Sequence[str]) -> dict[str, float]:
    """p50 and p95 of a decision."""
    taken = []
    for text in texts:
        started = time.perf_counter()
        router.route(text)
        taken.append(1e3 * (time.perf_counter() - started))
    return {"p50": statistics.median(taken), "p95": float(np.quantile(taken, 0.95))}


def thousand_specialists(train: dict[str, list[str]]) -> Router:
    """Seven queries each: what they ask does not matter, only how many there are."""
    queries = list(dict.fromkeys(text.strip().casefold() for rows in train.values() for text in rows))
    crowd = {f"s{n}": queries[n * 7 : n * 7 + 7] for n in range(1000)}
    return train_router(crowd, queries[7000:])


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Everything, as JSON values."""
    train, test = by_subject(arguments.banking)
    general = list(dict.fromkeys(q for place in arguments.general for q in read_questions(place)))
    random.Random(0).shuffle(general)
    cut = len(general) * 4 // 5
    started = time.perf_counter()
    embed = open_embedder() if arguments.semantic else None
    router = train_router(train, general[:cut], embed=embed)
    train_seconds = time.perf_counter() - started
    report = evaluate_router(router, test, general[cut:])
    keyword = KeywordRouter(train)
    asked = [(text, name) for name, texts in test.items() for text in texts]
    hits = [keyword.hits(text) for text, _ in asked]
    right = [
        found[name] > 0 and max(found, key=lambda one: found[one]) == name
        for found, (_, name) in zip(hits, asked, strict=True)
    ]
    inside = router.probabilities([text for text, _ in asked])[:, -1]
    off_domain = {}
    for place in arguments.off_domain:
        texts = read_questions(place)[:2000]
        peer_in, peer_out = (
            np.array([max(found.values()) for found in some], float)
            for some in (hits, [keyword.hits(text) for text in texts])
        )
        off_domain[Path(place).name] = {
            "rows": len(texts),
            "auroc": auroc(1 - inside, 1 - router.probabilities(texts)[:, -1]),
            "auroc of the peer": auroc(peer_in, peer_out),
            "handed to a specialist": sum(router.route(text).specialist is not None for text in texts)
            / len(texts),
        }
    texts = [text for text, _ in asked]
    crowd = thousand_specialists(train)
    return {
        "accuracy": report.accuracy,
        "accuracy interval": report.accuracy_interval,
        "accuracy of the peer": float(np.mean(right)),
        "answered": report.answered,
        "answered right": report.answered_right,
        "calibration error": report.calibration_error,
        "general": {
            "rows": len(general) - cut,
            "auroc": report.auroc,
            "stay with the base": report.general_kept,
        },
        "off-domain": off_domain,
        "train seconds": train_seconds,
        "milliseconds, 10 specialists": milliseconds(router, texts[:1000]),
        "milliseconds, 1000 specialists": milliseconds(crowd, texts[:1000]),
        "Give me a description of Paris": router.route("Give me a description of Paris").word.value,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--banking", type=Path, required=True, help="BANKING77's train file: text,category")
    parser.add_argument("--general", nargs="+", required=True, help="files of rows that are nobody's")
    parser.add_argument("--semantic", action="store_true", help="read what questions mean, too (extra embed)")
    parser.add_argument("--off-domain", nargs="*", default=[], help="files of rows never trained on")
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
