"""Write the hashes behind `luthier data check --against luthier`: Luthier's own test questions, without their text.

    python recipes/benchmark_hashes.py

Run it after a change to the demo's questions. A test holds the written file to what this gives.
"""

import json
from pathlib import Path

import luthier.data
from luthier.data.checks.benchmarks import Benchmark, freeze
from luthier.demo.dataset import CLOSING_QUESTION, build_demo_dataset
from luthier.files import write_text_atomic

FOLDER = Path(luthier.data.__file__).parent / "benchmark_hashes"


def rugby() -> Benchmark:
    """The demo's test questions, those about anything else among them, and the question of its end."""
    dataset = build_demo_dataset()
    items = [*dataset.test, *dataset.other]
    questions = [*(item["question"] for item in items), CLOSING_QUESTION]
    places = [*(f"rugby {item['id']}" for item in items), "rugby closing question"]
    return freeze("rugby", places, questions, range(len(questions)), [True] * len(questions))


def main() -> None:
    benchmark = rugby()
    write_text_atomic(FOLDER / f"{benchmark.name}.json", json.dumps(benchmark.to_dict()) + "\n")


if __name__ == "__main__":
    main()
