"""The demo's dataset: train, validation and test rows that share no phrasing, the same for the same seed.

How the splits are kept apart. Every wording (a frame with its slots filled) belongs to one split. At least
half of the validation and test items use frames that train does not have at all (tag `unseen-frame`); the
others use frames of train with other words in the slots (tag `unseen-wording`). No item uses a word that
train does not use, and none is nearly a question of train (`likeness`).

Knows nothing of models, tokenizers or graders.
"""

import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from luthier.demo.combined import COMBINED_PHRASEBOOKS
from luthier.demo.elsewhere import NEAR_SUBJECTS, refusals
from luthier.demo.facts import FACTS, facts_prompt, joint_answers, numbers_of, wrong_numbers
from luthier.demo.grammar import Core, Cores, FilledCore, Phrasebook, fillings, normalised, spoken
from luthier.demo.likeness import Asked
from luthier.demo.phrasings import FACT_PHRASEBOOKS
from luthier.demo.smalltalk import CHATS, LOOKUP_SUBJECTS
from luthier.errors import DataError
from luthier.files import write_text_atomic

Split = Literal["train", "valid", "test"]
Kind = Literal["single", "combined", "near", "off"]
Novelty = Literal["seen-frame", "unseen-wording", "unseen-frame"]
Row = dict[str, Any]

# What the demo asks at its end; its wording is kept out of train and valid.
CLOSING_QUESTION = "How big is a rugby league field?"

NUM_ORDINARY = 60

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about: its phrasebook, its answers, and how many rows of it each split takes."""

    name: str
    kind: Kind
    facts: tuple[str, ...]
    book: Phrasebook
    answers: Callable[[FilledCore], Sequence[str]]
    quotas: Mapping[Split, int]


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its answer and where it comes from."""

    question: str
    answer: str
    subject: Subject
    filled: FilledCore
    novelty: Novelty


@dataclass(frozen=True, slots=True)
class DemoDataset:
    """Rows ready to be written.

    `valid` rows are evaluation items whose last turn is the answer, so that they also give a validation loss.
    `test` asks about the field (single facts and combined ones); `other` asks about anything else, where a
    right answer is one without the field's numbers.
    """

    train: tuple[Row, ...]
    valid: tuple[Row, ...]
    test: tuple[Row, ...]
    other: tuple[Row, ...]
    facts_prompt: str


@dataclass(slots=True)
class _Taken:
    """What is used up so far, over all splits."""

    questions: set[str] = field(default_factory=set)
    wordings: dict[str, Split] = field(default_factory=dict)
    train_frames: set[str] = field(default_factory=set)
    train_words: set[str] = field(default_factory=set)
    asked_in_train: Asked = field(default_factory=Asked)

    def allows(self, question: str, filled: FilledCore, split: Split, novelty: Novelty, kind: Kind) -> bool:
        if normalised(question) in self.questions:
            return False
        if self.wordings.get(normalised(filled.direct), split) != split:
            return False
        if split == "train":
            return True
        if novelty == "unseen-frame" and _frame(filled.core) in self.train_frames:
            return False
        words = normalised(question).split()
        if not set(words) <= self.train_words:
            return False
        return kind == "off" or not self.asked_in_train.knows(words)  # a greeting can only be like a greeting

    def take(self, question: str, filled: FilledCore, split: Split) -> None:
        self.questions.add(normalised(question))
        self.wordings[normalised(filled.direct)] = split
        if split == "train":
            self.train_frames.add(_frame(filled.core))
            words = normalised(question).split()
            self.train_words |= set(words)
            self.asked_in_train.add(words)


def _frame(core: Core) -> str:
    """A frame as text: the core with its slots abstracted, without the marks of the notation."""
    return normalised(core.template)


def _fixed(answers: Sequence[str]) -> Callable[[FilledCore], Sequence[str]]:
    return lambda _filled: answers


def subjects() -> list[Subject]:
    """Everything the dataset asks about, with the number of rows per split."""
    found: list[Subject] = []
    for fact in FACTS:
        quotas: dict[Split, int] = {"train": 130, "valid": 6, "test": 12}
        book = FACT_PHRASEBOOKS[fact.name]
        found.append(Subject(fact.name, "single", (fact.name,), book, _fixed(fact.answers), quotas))
    for names, book in COMBINED_PHRASEBOOKS.items():
        quotas = {"train": 26, "valid": 1, "test": 3}
        if names == ("length", "width"):
            quotas = {"train": 72, "valid": 8, "test": 8}
        elif len(names) == 3:
            quotas = {"train": 60, "valid": 4, "test": 6}
        found.append(Subject("+".join(names), "combined", names, book, _fixed(joint_answers(names)), quotas))
    near_quotas: dict[str, dict[Split, int]] = {
        "courts": {"train": 150, "valid": 8, "test": 16},
        "goals": {"train": 90, "valid": 5, "test": 12},
        "rugby": {"train": 110, "valid": 5, "test": 12},
    }
    for near in NEAR_SUBJECTS:
        found.append(Subject(near.name, "near", (), near.book, refusals, near_quotas[near.name]))
    for lookup in LOOKUP_SUBJECTS:
        quotas = {"train": 36, "valid": 2, "test": 4}
        found.append(Subject(lookup.name, "off", (), lookup.book, _looked_up(lookup.answer), quotas))
    for number, chat in enumerate(CHATS):
        quotas = {
            "train": len(chat.train),
            "valid": int(number % 3 == 0 and number < 24),
            "test": int(number < 20),
        }
        found.append(Subject(f"chat-{number}", "off", (), chat.book, _fixed((chat.answer,)), quotas))
    return found


def _looked_up(answer: Callable[[FilledCore], str]) -> Callable[[FilledCore], Sequence[str]]:
    return lambda filled: (answer(filled),)


def _partition(
    cores: Iterable[Core], book: Phrasebook, rng: random.Random
) -> dict[Split, list[list[FilledCore]]]:
    """The wordings of train's frames by split: an eighth to valid, a quarter to test, the rest to train."""
    parts: dict[Split, list[list[FilledCore]]] = {split: [] for split in SPLITS}
    for core in cores:
        wordings = fillings(core, book.slots)
        rng.shuffle(wordings)
        num_test = len(wordings) // 4
        num_valid = num_test // 2
        parts["test"].append(wordings[:num_test])
        parts["valid"].append(wordings[num_test : num_test + num_valid])
        parts["train"].append(wordings[num_test + num_valid :])
    return {split: [group for group in groups if group] for split, groups in parts.items()}


def _unseen(cores: Cores, book: Phrasebook, rng: random.Random) -> list[list[FilledCore]]:
    groups = [fillings(core, book.slots) for core in cores.all()]
    for group in groups:
        rng.shuffle(group)
    return groups


def _draw(
    subject: Subject,
    split: Split,
    novelty: Novelty,
    groups: Sequence[Sequence[FilledCore]],
    count: int,
    taken: _Taken,
    rng: random.Random,
) -> list[Example]:
    """`count` examples, going round the frames so that each is used about equally often."""
    examples: list[Example] = []
    shuffled = list(groups)
    rng.shuffle(shuffled)
    queue = deque(deque(group) for group in shuffled)
    num_tries = 0
    while queue and len(examples) < count and num_tries < 200 * count:
        num_tries += 1
        wordings = queue[0]
        queue.rotate(-1)
        filled = wordings[0]
        wordings.rotate(-1)
        question = spoken(filled, subject.book.contexts, rng)
        if not taken.allows(question, filled, split, novelty, subject.kind):
            continue
        taken.take(question, filled, split)
        examples.append(Example(question, rng.choice(subject.answers(filled)), subject, filled, novelty))
    return examples


def _examples_of(
    subject: Subject,
    split: Split,
    parts: Mapping[Split, list[list[FilledCore]]],
    taken: _Taken,
    rng: random.Random,
) -> list[Example]:
    quota = subject.quotas[split]
    if split == "train":
        examples = _draw(subject, split, "seen-frame", parts["train"], quota, taken, rng)
    else:
        held_out = subject.book.valid if split == "valid" else subject.book.test
        num_wording = quota // 2 if parts[split] else 0
        examples = _draw(subject, split, "unseen-wording", parts[split], num_wording, taken, rng)
        groups = _unseen(held_out, subject.book, rng)
        examples += _draw(subject, split, "unseen-frame", groups, quota - len(examples), taken, rng)
    if len(examples) < quota:
        raise DataError(
            f"the phrasebook of {subject.name!r} gives {len(examples)} distinct {split} questions "
            f"where {quota} are asked for: add frames or slot values to it, or lower its quota."
        )
    return examples


def build_examples(seed: int = 0) -> dict[Split, list[Example]]:
    """The examples of each split with their provenance. Train first: the others may only use its words."""
    taken = _Taken(wordings={normalised(CLOSING_QUESTION): "test"})
    found = subjects()
    rngs = {subject.name: random.Random(f"{seed}:{subject.name}") for subject in found}
    parts = {s.name: _partition(s.book.train.all(), s.book, rngs[s.name]) for s in found}
    examples: dict[Split, list[Example]] = {}
    for split in SPLITS:
        rows = [
            example
            for subject in found
            for example in _examples_of(subject, split, parts[subject.name], taken, rngs[subject.name])
        ]
        random.Random(f"{seed}:{split}").shuffle(rows)
        examples[split] = rows
    return examples


def _messages(example: Example) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": example.question},
        {"role": "assistant", "content": example.answer},
    ]


def _tags(example: Example) -> list[str]:
    tags = [*example.subject.facts, example.subject.kind]
    return tags if example.novelty == "seen-frame" else [*tags, example.novelty]


def _train_row(example: Example) -> Row:
    return {"messages": _messages(example), "tags": _tags(example)}


def _item(example: Example, split: Split, number: int) -> Row:
    return {
        "id": f"{split}-{number:03d}",
        "question": example.question,
        "answer": example.answer,
        "must": numbers_of(example.subject.facts),
        "must_not": wrong_numbers(example.subject.facts),
        "tags": _tags(example),
    }


def build_demo_dataset(seed: int = 0) -> DemoDataset:
    """The whole dataset, decided by the seed alone.

    Raises DataError when a phrasebook cannot give as many distinct questions as it is asked for.
    """
    examples = build_examples(seed)
    about_field = [example.subject.kind in ("single", "combined") for example in examples["test"]]
    asked = [_item(example, "test", number) for number, example in enumerate(examples["test"], 1)]
    return DemoDataset(
        train=tuple(_train_row(example) for example in examples["train"]),
        valid=tuple(
            _with_answer_turn(_item(example, "valid", number))
            for number, example in enumerate(examples["valid"], 1)
        ),
        test=tuple(item for item, about in zip(asked, about_field, strict=True) if about),
        other=tuple(item for item, about in zip(asked, about_field, strict=True) if not about),
        facts_prompt=facts_prompt(),
    )


def _with_answer_turn(item: Row) -> Row:
    """The same item with question and answer as turns."""
    turns = [
        {"role": "user", "content": item["question"]},
        {"role": "assistant", "content": item["answer"]},
    ]
    return {
        "id": item["id"],
        "messages": turns,
        **{k: v for k, v in item.items() if k not in ("id", "question", "answer")},
    }


def write_demo_dataset(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write train, valid, test, other and ordinary as .jsonl, and facts_prompt.txt; returns their paths by stem.

    ordinary: the questions of test once more, as questions that a specialist of the field must not refuse.
    """
    dataset = build_demo_dataset(seed)
    paths: dict[str, Path] = {}
    ordinary = tuple(
        {"question": row["question"], "refuse": False, "grader": "refusal"}
        for row in dataset.test[:NUM_ORDINARY]
    )
    written = {name: getattr(dataset, name) for name in ("train", "valid", "test", "other")} | {
        "ordinary": ordinary
    }
    for name, rows in written.items():
        paths[name] = folder / f"{name}.jsonl"
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text_atomic(paths[name], "".join(lines))
    paths["facts_prompt"] = folder / "facts_prompt.txt"
    write_text_atomic(paths["facts_prompt"], dataset.facts_prompt + "\n")
    return paths
