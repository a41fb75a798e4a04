"""The demo's second dataset: how much a quantity is in a smaller unit, answered as JSON. Every answer is computed.

    How many grams are 35 kilograms?    {"value":35000,"unit":"g"}

How the splits are kept apart. A way of asking (a frame) belongs to one split, and so does a quantity of a unit: 35
kilograms are asked about in one split alone, so that a right answer is worked out and not remembered. Factors are
powers of ten: so small a model learns to move a point from a thousand rows, but not to multiply by 7 or 12. No item
uses a word that train does not use; a number is digits to the model.

Knows nothing of models, tokenizers or graders.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.demo.grammar import Cores, FilledCore, fillings, normalised, spoken
from luthier.files import write_text_atomic

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
CLOSING_QUESTION = "How many grams are 35 kilograms?"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "unit": {"type": "string"}},
    "required": ["value", "unit"],
    "additionalProperties": False,
}

_VALUES = range(2, 100)


@dataclass(frozen=True, slots=True)
class Conversion:
    """From a large unit to a small one; `factor` small ones make a large one."""

    large: str
    small: str
    factor: int
    symbol: str

    def answer(self, value: int) -> str:
        """The JSON of so many large ones, without spaces."""
        return json.dumps({"value": value * self.factor, "unit": self.symbol}, separators=(",", ":"))


CONVERSIONS = (
    Conversion("kilometres", "metres", 1000, "m"),
    Conversion("metres", "centimetres", 100, "cm"),
    Conversion("centimetres", "millimetres", 10, "mm"),
    Conversion("metres", "millimetres", 1000, "mm"),
    Conversion("kilograms", "grams", 1000, "g"),
    Conversion("tonnes", "kilograms", 1000, "kg"),
    Conversion("litres", "millilitres", 1000, "ml"),
    Conversion("litres", "centilitres", 100, "cl"),
    Conversion("centuries", "years", 100, "yr"),
    Conversion("decades", "years", 10, "yr"),
)

_CONTEXTS = (
    "I'm doing my homework.", "This is for a recipe.", "I'm writing a quiz.", "I have a school project.",
    "I need to fill in a form.", "We had an argument about this.",
)  # fmt: skip

_FRAMES: dict[Split, Cores] = {
    "train": Cores(
        questions=(
            "how many {small} [are] {value} {large}|", "how many {small} are there in {value} {large}",
            "what [is] {value} {large} in {small}|", "how many {small} make {value} {large}",
            "how much [is] {value} {large} in {small}|", "how many {small} would that be: {value} {large}",
            "{value} {large}, how many {small} is that", "what does {value} {large} come to in {small}",
        ),
        nouns=("{value} {large} in {small}", "{value} {large} as {small}",
               "the number of {small} in {value} {large}"),
        keywords=("{value} {large} to {small}", "{value} {large} in {small}", "{small} in {value} {large}"),
        utterances=("Convert {value} {large} to {small}.", "Turn {value} {large} into {small}.",
                    "Please convert {value} {large} into {small}.", "Express {value} {large} in {small}."),
    ),
    "valid": Cores(
        questions=("how many {small} is {value} {large}",),
        utterances=("Turn {value} {large} to {small}.",),
    ),
    "test": Cores(
        questions=("how many {small} would {value} {large} be", "how much would {value} {large} be in {small}"),
        nouns=("the number of {small} that {value} {large} make",),
        keywords=("convert {value} {large} to {small}", "{value} {large} into {small}"),
        utterances=("Please express {value} {large} as {small}.",),
    ),
}  # fmt: skip

_NUM_ROWS: dict[Split, int] = {"train": 1200, "valid": 60, "test": 120}


def build_units(seed: int = 0) -> dict[Split, tuple[dict[str, Any], ...]]:
    """Rows of train, and items of valid and test for the grader of JSON; decided by the seed alone."""
    dice = random.Random(f"{seed}:units")
    taken = {normalised(CLOSING_QUESTION)}
    values = {one: _shared_out(one, dice) for one in CONVERSIONS}
    rows: dict[Split, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for number, conversion in enumerate(_round(_NUM_ROWS[split])):
            question, value = _question(conversion, split, values[conversion][split], taken, dice)
            answer = conversion.answer(value)
            tags = [f"{conversion.large} to {conversion.small}"]
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            if split == "train":
                rows[split].append({"messages": turns, "tags": tags})
            else:
                asked = {"messages": turns} if split == "valid" else {"question": question, "answer": answer}
                rows[split].append(
                    {"id": f"{split}-{number + 1:03d}", **asked, "tags": tags, "grader": "json"}
                )
        dice.shuffle(rows[split])
    return {split: tuple(rows[split]) for split in SPLITS}


def write_units(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write train, valid and test as .jsonl; returns their paths by stem."""
    paths: dict[str, Path] = {}
    for split, rows in build_units(seed).items():
        paths[split] = folder / f"{split}.jsonl"
        write_text_atomic(paths[split], "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return paths


def _round(count: int) -> Iterator[Conversion]:
    """So many conversions, each as often as every other one."""
    return (CONVERSIONS[number % len(CONVERSIONS)] for number in range(count))


def _shared_out(conversion: Conversion, dice: random.Random) -> dict[Split, list[int]]:
    """Which quantities each split may ask about."""
    values = list(_VALUES)
    dice.shuffle(values)
    if conversion.large == "kilograms":  # what the demo asks at its end is a test item's quantity
        values.remove(35)
        values.insert(0, 35)
    num_test, num_valid = len(values) // 5, len(values) // 10
    return {
        "test": values[:num_test],
        "valid": values[num_test : num_test + num_valid],
        "train": values[num_test + num_valid :],
    }


def _question(
    conversion: Conversion, split: Split, values: list[int], taken: set[str], dice: random.Random
) -> tuple[str, int]:
    """A question that was not asked yet, and the quantity that it is about."""
    cores = _FRAMES[split].all()
    while True:
        value = dice.choice(values)
        slots = {"value": (str(value),), "large": (conversion.large,), "small": (conversion.small,)}
        filled: FilledCore = fillings(dice.choice(cores), slots)[0]
        question = spoken(filled, _CONTEXTS, dice)
        if normalised(question) not in taken:
            taken.add(normalised(question))
            return question, value
