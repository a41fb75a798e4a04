"""Chat rows of about 1 KB with known troubles planted, for benchmarks of the data checks.

Words follow one another as they do in Python's own language reference (a Markov chain over `pydoc_data.topics`, which
every machine with Python has), so word lengths, repetition and vocabulary are those of real English. Every trouble
sits on rows of its own; the counts are exact. Knows nothing of what measures them.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROMPT_WORDS = 40
ANSWER_WORDS = 120
_BATCH = 5_000
# Rows about templates may hold placeholders, and are rightly not told of them.
_EXCUSES = re.compile(r"(?:templates?|placeholders?|blanks?|fill)\b", re.I)


@dataclass(frozen=True)
class Planted:
    """How many rows have each trouble. `rows` are those of the training file; the broken lines stand in another."""

    rows: int
    valid_rows: int
    duplicates: int
    near_duplicates: int
    leaked_rows: int
    placeholders: int
    broken_lines: int

    @classmethod
    def for_rows(cls, rows: int) -> "Planted":
        """1% copies, 1% near copies, 0.1% placeholders, 0.02% broken lines; 1% as many validation rows, 5% leaked."""
        valid = rows // 100
        return cls(rows, valid, rows // 100, rows // 100, valid // 20, rows // 1000, max(2, rows // 5000))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Files:
    """train: rows that every tool can read. broken: lines that stop most tools, so they stand apart."""

    train: Path
    valid: Path
    broken: Path


class Chain:
    """A Markov chain of order one over words, walked for many rows at once."""

    def __init__(self, text: str) -> None:
        words = re.findall(r"(?<![\w.`])[A-Za-z][a-z']*[.,;:?]?(?=\s)", text)
        words = [word for word in words if not _EXCUSES.match(word)]
        self._words = sorted(set(words))
        number = {word: index for index, word in enumerate(self._words)}
        states = np.array([number[word] for word in [*words, words[0]]])
        order = np.argsort(states[:-1], kind="stable")
        self._followers = states[1:][order]
        self._counts = np.bincount(states[:-1], minlength=len(self._words))
        self._starts = np.cumsum(self._counts) - self._counts

    def walk(self, random: np.random.Generator, num_rows: int, num_words: int) -> list[list[str]]:
        """`num_rows` texts of `num_words` words."""
        states: NDArray[np.int64] = np.empty((num_words, num_rows), np.int64)
        states[0] = random.choice(self._followers, num_rows)
        for step in range(1, num_words):
            before = states[step - 1]
            chosen = (random.random(num_rows) * self._counts[before]).astype(np.int64)
            states[step] = self._followers[self._starts[before] + chosen]
        words = np.array(self._words, dtype=object)[states.T]
        return [list(row) for row in words]

    def word(self, random: np.random.Generator) -> str:
        return self._words[int(random.integers(len(self._words)))]


def write_rows(folder: Path, planted: Planted, *, seed: int = 0) -> Files:
    """Write the files of one size; the same seed gives the same bytes (on one version of Python)."""
    random = np.random.default_rng(seed)
    files = Files(folder / "train.jsonl", folder / "valid.jsonl", folder / "broken.jsonl")
    kept: list[list[str]] = []
    with files.train.open("w", encoding="utf-8") as train:
        for words in _training_rows(_chain(), random, planted, kept):
            train.write(_line(words))
    with files.valid.open("w", encoding="utf-8") as valid:
        for number, words in enumerate(
            _plain_rows(_chain(), random, planted.valid_rows - planted.leaked_rows)
        ):
            if number < planted.leaked_rows:
                valid.write(_line(kept[number]))
            valid.write(_line(words))
    files.broken.write_text('{"messages": [{"role": "user", "content": "cut sh\n' * planted.broken_lines)
    return files


def _chain() -> Chain:
    from pydoc_data.topics import topics

    return Chain(" ".join(topics[name] for name in sorted(topics)))


def _plain_rows(chain: Chain, random: np.random.Generator, num_rows: int) -> Iterator[list[str]]:
    while num_rows > 0:
        yield from chain.walk(random, min(_BATCH, num_rows), PROMPT_WORDS + ANSWER_WORDS)
        num_rows -= _BATCH


def _training_rows(
    chain: Chain, random: np.random.Generator, planted: Planted, kept: list[list[str]]
) -> Iterator[list[str]]:
    """Plain rows, with the troubles spread evenly; the first plain rows are `kept`, to be leaked later."""
    troubles = ["copy"] * planted.duplicates + ["near"] * planted.near_duplicates
    troubles += ["placeholder"] * planted.placeholders
    random.shuffle(troubles)
    plain = _plain_rows(chain, random, planted.rows)
    before = planted.leaked_rows + 1
    kept += itertools.islice(plain, before)
    yield from kept
    spacing = (planted.rows - before) // len(troubles)
    for number, trouble in enumerate(troubles):
        last = number == len(troubles) - 1
        plain_here = planted.rows - before - spacing * (len(troubles) - 1) if last else spacing
        rows = list(itertools.islice(plain, plain_here - 1))
        yield from rows
        yield _troubled(trouble, rows[0], chain, random)


def _troubled(trouble: str, words: list[str], chain: Chain, random: np.random.Generator) -> list[str]:
    """A copy of a row, a copy with two words changed, or the row with another answer that holds a placeholder."""
    changed = list(words)
    if trouble == "near":
        for at in random.choice(len(changed), 2, replace=False):
            changed[int(at)] = chain.word(random)
    elif trouble == "placeholder":
        changed = chain.walk(random, 1, len(words))[0]
        changed[PROMPT_WORDS + 10] = "[Insert name here]"
    return changed


def _line(words: list[str]) -> str:
    prompt, answer = (_sentences(part) for part in (words[:PROMPT_WORDS], words[PROMPT_WORDS:]))
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns}, ensure_ascii=False) + "\n"


def _sentences(words: list[str]) -> str:
    """The words as people write them: the first with a capital, a mark at the end."""
    text = " ".join(words).rstrip(".,;:?")
    return f"{text[0].upper()}{text[1:]}."
