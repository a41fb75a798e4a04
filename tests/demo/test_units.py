"""The second dataset: answers are right by arithmetic; no wording and no quantity is in two splits."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from luthier.data.checks import check_files
from luthier.demo.grammar import normalised
from luthier.demo.units import CLOSING_QUESTION, CONVERSIONS, SCHEMA, build_units, write_units
from luthier.evaluation.task import load_items

# Written apart from the generator: how many of the smallest unit of its kind each is.
SIZES = {
    **{"kilometres": 1_000_000, "metres": 1000, "centimetres": 10, "millimetres": 1},
    **{"tonnes": 1_000_000, "kilograms": 1000, "grams": 1},
    **{"litres": 1000, "centilitres": 10, "millilitres": 1, "centuries": 100, "decades": 10, "years": 1},
}
NAMES = {
    **{
        "m": "metres",
        "cm": "centimetres",
        "mm": "millimetres",
        "g": "grams",
        "kg": "kilograms",
        "yr": "years",
    },
    **{"ml": "millilitres", "cl": "centilitres"},
}


def asked(row: dict[str, Any]) -> str:
    return str(row["question"] if "question" in row else row["messages"][0]["content"])


def answered(row: dict[str, Any]) -> str:
    return str(row["answer"] if "answer" in row else row["messages"][-1]["content"])


def every(split: str, seed: int = 0) -> tuple[dict[str, Any], ...]:
    return build_units(seed)[split]  # type: ignore[index]


def test_every_answer_is_right_by_arithmetic() -> None:
    for split in ("train", "valid", "test"):
        for row in every(split):
            value, large = re.search(r"(\d+) (\w+)", asked(row).replace("meters", "metres"), re.I).groups()  # type: ignore[union-attr]
            answer = json.loads(answered(row))
            jsonschema.validate(answer, dict(SCHEMA))
            small = NAMES[answer["unit"]]
            assert answer["value"] * SIZES[small] == int(value) * SIZES[large.lower()], row
            assert small in asked(row).lower().replace("meters", "metres"), row


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_are_apart(seed: int) -> None:
    words: dict[str, set[str]] = {}
    questions: Counter[str] = Counter()
    quantities: dict[str, set[tuple[str, str]]] = {}
    for split in ("train", "valid", "test"):
        rows = every(split, seed)
        questions.update(normalised(asked(row)) for row in rows)
        words[split] = {word for row in rows for word in re.findall("[a-z]+", asked(row).lower())}
        quantities[split] = {(row["tags"][0], answered(row)) for row in rows}
    assert max(questions.values()) == 1 and normalised(CLOSING_QUESTION) not in questions
    assert words["test"] | words["valid"] <= words["train"]
    assert not quantities["train"] & (quantities["valid"] | quantities["test"])
    assert not quantities["valid"] & quantities["test"]
    assert ("kilograms to grams", '{"value":35000,"unit":"g"}') not in quantities["train"]


def test_every_conversion_is_asked_in_every_split() -> None:
    for split in ("train", "valid", "test"):
        counted = Counter(row["tags"][0] for row in every(split))
        assert len(counted) == len(CONVERSIONS) and max(counted.values()) - min(counted.values()) <= 1


def test_the_files_are_read_and_checked(tmp_path: Path) -> None:
    paths = write_units(tmp_path)
    report = check_files([paths["train"]], paths["valid"], paths["test"])
    assert report.exit_code(strict=False) == 0, report.findings
    items = load_items(paths["test"])
    assert len(items) == len(every("test")) and {item.grader for item in items} == {"json"}
    assert load_items(paths["valid"])
    again = write_units(tmp_path / "again")
    assert [again[name].read_bytes() for name in again] == [paths[name].read_bytes() for name in paths]
