"""The search of documents on real text, beside rank_bm25 and TF-IDF, on the same pieces and questions.

    python benchmarks/knowledge.py --rows gsm8k_train.jsonl --question question --answer answer [--answer answer2...]

Every row's answer is a document of its own; its question has to find it among all of them, which needs no judge. Recall
is the share of questions whose answer is among the first k. Rows whose answer stands in another row too are left out.
One process, one question at a time.
"""

import argparse
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi
from sklearn.feature_extraction.text import TfidfVectorizer

from luthier.serving.knowledge.bm25 import build_index, count
from luthier.serving.terms import terms

KS = (1, 4, 10)
Scores = Callable[[str], np.ndarray]


def read(path: Path, question: str, answers: Sequence[str]) -> tuple[list[str], list[str]]:
    """(questions, answers) of a JSON or JSON lines file; the answer's fields are tried in their order."""
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines()]
    pairs = [(str(row[question]), next((str(row[a]) for a in answers if row.get(a)), "")) for row in rows]
    times = Counter(answer for _, answer in pairs)
    kept = [(asked, answer) for asked, answer in pairs if answer and times[answer] == 1]
    return [asked for asked, _ in kept], [answer for _, answer in kept]


def searchers(documents: Sequence[str]) -> dict[str, Scores]:
    """Each as a function from a question to the scores of all documents."""
    index = build_index([count(documents)])
    peer = BM25Okapi([document.lower().split() for document in documents])
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    matrix = vectorizer.fit_transform(documents)
    return {
        "luthier": index.scores,
        "rank_bm25, words by spaces": lambda asked: peer.get_scores(asked.lower().split()),
        "TF-IDF, cosine": lambda asked: (matrix @ vectorizer.transform([asked]).T).toarray()[:, 0],
    }


def measure(scores: Scores, asked: Sequence[tuple[int, str]]) -> dict[str, float]:
    """Recall at each k, and milliseconds a search."""
    ranks, milliseconds = [], []
    for own, question in asked:
        started = time.perf_counter()
        found = scores(question)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        # Ties count against the right one: a search that gives all the same score finds nothing.
        ranks.append(int((found >= found[own]).sum()) if found[own] > 0 else len(found))
    recall = {f"recall@{k}": float(np.mean([rank <= k for rank in ranks])) for k in KS}
    return recall | {"milliseconds p50": statistics.median(milliseconds)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, required=True, help="rows with a question and an answer")
    parser.add_argument("--question", default="question", help="the question's field")
    parser.add_argument("--answer", nargs="+", default=["answer"], help="the answer's field")
    parser.add_argument("--questions", type=int, default=500, help="how many are asked, drawn at random")
    options = parser.parse_args()
    questions, documents = read(options.rows, options.question, options.answer)
    chosen = random.Random(0).sample(range(len(questions)), min(options.questions, len(questions)))
    asked = [(number, questions[number]) for number in chosen]
    words = sum(len(terms(document)) for document in documents)
    print(json.dumps({"documents": len(documents), "words": words, "questions": len(asked)}))
    for name, scores in searchers(documents).items():
        print(json.dumps({"search": name} | measure(scores, asked)))


if __name__ == "__main__":
    main()
