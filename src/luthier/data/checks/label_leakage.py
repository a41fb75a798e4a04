"""Is the answer given away: does a prompt name its own class, and only that one?

Only for sets of classes: an answer that is extracted, or chosen from options, stands in its prompt rightly, and so
does a class where the prompt lists them all. Classes are known when all rows were seen, so prompts are kept: those of
2,000 rows chosen by hash, and of each its first 4,000 characters. Knows nothing of other leaks.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import MAX_ROWS_NAMED, Finding, RowKey
from luthier.data.checks.hash_sample import HashSample
from luthier.data.checks.labels import MAX_LABEL_CHARACTERS, Classes, label_of
from luthier.data.checks.row import CheckedRow

_SAMPLED_ROWS = 2000
_MAX_PROMPT_CHARACTERS = 4000
_MIN_LETTERS = 3  # options and digits stand in any prompt
_OWN_SHARE = 0.2  # a review says "positive" now and then; it does not so in one row of five
_OWN_FACTOR = 10  # and it would name the other classes too
_MIN_ROWS = 20
_INSTRUCTION_SHARE = 0.5
_MIN_ROWS_OF_CLASS = 5
_NAMES = "answer|label|class|category|sentiment|intent|correct|expected|gold|target|tag"
_CUE = re.compile(rf"(?:[(\[<{{]\s*|\b(?:{_NAMES})\b[^\w\n]{{0,3}}(?:is|=|:)?\s*[\"'`*]*)")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class _Asked:
    label: str
    instruction: str  # the system turns
    prompt: str  # all other turns before the answer


class LabelLeakage(Check):
    """Prompts that hold the answer, and instructions that name it."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.classes = Classes()
        self.sample: HashSample[_Asked] = HashSample(_SAMPLED_ROWS)

    def see(self, row: CheckedRow) -> None:
        if row.split != "train" or row.example is None:
            return
        self.classes.see(row)
        label = label_of(row)
        if label is None or self.classes.too_many:
            return
        rank = self.sample.rank(row.key)
        if self.sample.wants(rank):
            instruction = "\n".join(m.content for m in row.before if m.role == "system")
            prompt = "\n".join(m.content for m in row.before if m.role != "system")
            half = _MAX_PROMPT_CHARACTERS // 2
            self.sample.add(rank, row.key, _Asked(label, instruction[:half], _ends(prompt, half)))

    def merge(self, later: Self) -> None:
        self.classes.merge(later.classes)
        self.sample.merge(later.sample)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        if not self.classes.are_classes:
            return
        rows = sorted(self.sample.items(), key=lambda item: item[0])
        names = [label for label in self.classes.of if len(label.strip()) >= _MIN_LETTERS]
        if len(rows) < _MIN_ROWS or len(names) < 2:
            return
        told = _Names(names)
        cued = list(_cued(rows, told))
        yield from _in_instruction(cued, rows, totals)
        taken = {key for key, _ in cued}
        yield from _in_prompt([one for one in rows if one[0] not in taken], told, len(rows), totals)


class _Names:
    """Finds which labels a text names as whole words; of labels that begin alike the longest. However many there are,
    a text costs its words."""

    def __init__(self, labels: Iterable[str]) -> None:
        self._by_first: dict[str, list[tuple[list[str], str]]] = {}
        for plain in {_plain(label) for label in labels}:
            words = _WORD.findall(plain)
            self._by_first.setdefault(words[0], []).append((words, plain))
        for alike in self._by_first.values():
            alike.sort(key=lambda one: (-len(one[0]), one[1]))

    def named(self, text: str) -> set[str]:
        words = _WORD.findall(_plain(text))
        found, at = set(), 0
        while at < len(words):
            label, length = self._at(words, at)
            if label is not None:
                found.add(label)
            at += length
        return found

    def cued(self, text: str) -> set[str]:
        """The labels that stand behind a cue: a bracket, `label:`, `the answer is`."""
        plain = _plain(text)
        cues = (
            _WORD.findall(plain, cue.end(), cue.end() + MAX_LABEL_CHARACTERS + 1)
            for cue in _CUE.finditer(plain)
        )
        found = (self._at(words, 0)[0] for words in cues if words)
        return {label for label in found if label is not None}

    def _at(self, words: list[str], at: int) -> tuple[str | None, int]:
        """The label that begins here, if any, and its words."""
        for label_words, plain in self._by_first.get(words[at], ()):
            if words[at : at + len(label_words)] == label_words:
                return plain, len(label_words)
        return None, 1


def _cued(rows: list[tuple[RowKey, _Asked]], names: _Names) -> Iterator[tuple[RowKey, _Asked]]:
    """Rows whose system turn, or a remark in the prompt such as `(spam)` or `label: spam`, names their class alone."""
    for key, asked in rows:
        mine = {_plain(asked.label)}
        in_prompt = names.cued(asked.prompt)
        if names.named(asked.instruction) == mine or (
            in_prompt == mine and names.named(asked.prompt) == mine
        ):
            yield key, asked


def _in_instruction(
    cued: list[tuple[RowKey, _Asked]], rows: list[tuple[RowKey, _Asked]], totals: Totals
) -> Iterator[Finding]:
    of_class = Counter(asked.label for _, asked in rows)
    given_away = Counter(asked.label for _, asked in cued)
    told = [
        label
        for label, count in given_away.most_common()
        if count >= max(_MIN_ROWS_OF_CLASS, _INSTRUCTION_SHARE * of_class[label])
    ]
    if not told:
        return
    found = [key for key, asked in cued if asked.label in told]
    yield _finding(
        "label_named_in_instruction",
        found,
        len(rows),
        totals,
        f"names its own answer beside the question, and no other class (most rows of {', '.join(told[:5])})",
        "When the model is used nobody names the answer. Take it out of the instruction, or list every class there.",
    )


def _in_prompt(
    rows: list[tuple[RowKey, _Asked]], names: _Names, num_rows: int, totals: Totals
) -> Iterator[Finding]:
    own, other = [], 0
    for key, asked in rows:
        named = names.named(asked.prompt)
        if len(named) == 1:
            if named == {_plain(asked.label)}:
                own.append(key)
            else:
                other += 1
    if len(own) < max(_OWN_SHARE * num_rows, _OWN_FACTOR * other, 1):
        return
    yield _finding(
        "answer_in_prompt",
        own,
        num_rows,
        totals,
        "holds its own answer word for word, and no other class",
        "The model learns to find the word, not to decide. Take the label out of the texts, and look where it came "
        "from.",
    )


def _finding(name: str, rows: list[RowKey], num_rows: int, totals: Totals, what: str, advice: str) -> Finding:
    sampled = num_rows < totals.rows["train"]
    share = len(rows) / num_rows
    looked_at = f"{num_rows:,} rows looked at" if sampled else f"{num_rows:,} rows"
    return Finding(
        name,
        "warning",
        "train",
        f"the prompt of {len(rows):,} of {looked_at} ({share:.0%}) {what}",
        advice,
        len(rows),
        share,
        tuple(rows[:MAX_ROWS_NAMED]),
    )


def _ends(text: str, half: int) -> str:
    """A text, or its first and last characters where it is long: what gives an answer away stands at an end."""
    return text if len(text) <= 2 * half else f"{text[:half]}\n{text[-half:]}"


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
