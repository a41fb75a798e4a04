"""Does a split that is meant to measure share rows or prompts with one that is learnt from?

Exact sharing only. Prompts are compared without their system turns, their case and their spacing, so that
evaluation items (`question`) can be held against training conversations.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from luthier.data.checks.finding import CheckedData, CheckedRow, Finding, SplitName, finding

_NAMES: dict[SplitName, str] = {"train": "training", "valid": "validation", "test": "test"}
_PAIRS: tuple[tuple[SplitName, SplitName], ...] = (("train", "valid"), ("train", "test"), ("valid", "test"))

_MAX_SUFFIX_WORDS = 12
_SUFFIX_MIN_ROWS = 5
_SUFFIX_MIN_SHARE = 0.1


def check_leaked_rows(data: CheckedData) -> Iterable[Finding]:
    """Rows of valid or test that stand, question and answer, in a split before it."""
    for earlier, later in _PAIRS:
        rows = data.split(later)
        known = {row.content for row in data.split(earlier)} - {None}
        found = [row for row in rows if row.content in known]
        if found:
            yield finding(
                f"{later}_rows_in_{earlier}",
                "error" if earlier == "train" else "warning",
                found,
                rows,
                f"{len(found)} of {len(rows)} {_NAMES[later]} rows are exact copies of "
                f"{_NAMES[earlier]} rows",
                "What was learnt by heart scores full marks on them. Remove them from one of the two "
                "splits, or split again so that rows of one prompt stay together.",
            )


def check_leaked_prompts(data: CheckedData) -> Iterable[Finding]:
    """Questions of valid or test that a split before it asks too, whatever the answer."""
    for earlier, later in _PAIRS:
        rows = data.split(later)
        known = {row.question for row in data.split(earlier)} - {None}
        found = [row for row in rows if row.question in known]
        if found:
            yield finding(
                f"{later}_prompts_in_{earlier}",
                "warning",
                found,
                rows,
                f"{len(found)} of {len(rows)} {_NAMES[later]} prompts are asked in {_NAMES[earlier]} too",
                "A score on them says what was memorised, not what was understood. Ask in words that the "
                "other split does not use.",
                examples=[row.asked for row in found],
            )


def check_unseen_suffix(data: CheckedData) -> Iterable[Finding]:
    """An ending that many answers of valid or test share and no training answer has."""
    train_answers = [row.answer.split() for row in data.train if row.answer]
    if not train_answers:
        return
    seen = {ending for words in train_answers for ending in _endings(words)}
    for name in ("valid", "test"):
        rows = data.split(name)
        answered = [row for row in rows if row.answer]
        suffix, found = _most_common_unseen(answered, seen)
        if len(found) >= max(_SUFFIX_MIN_ROWS, _SUFFIX_MIN_SHARE * len(answered)):
            yield finding(
                f"{name}_suffix_unseen_in_train",
                "warning",
                found,
                rows,
                f'{len(found)} of {len(rows)} {_NAMES[name]} answers end in "{suffix}", '
                "no training answer does",
                "The loss on them counts words that were never taught, and can rise while the model "
                "improves. Give both splits the same style of answer.",
            )


def _most_common_unseen(
    rows: Sequence[CheckedRow], seen: set[tuple[str, ...]]
) -> tuple[str, list[CheckedRow]]:
    """The ending that most rows share and that is not in `seen`; of equally common ones the longest."""
    holders: dict[tuple[str, ...], list[CheckedRow]] = defaultdict(list)
    before: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        words = (row.answer or "").split()
        for ending in _endings(words):
            if ending not in seen:
                holders[ending].append(row)
                before[ending].add(tuple(words[: -len(ending)]))
    # One repeated answer is no habit: what stands before the ending has to differ.
    shared = Counter({e: len(found) for e, found in holders.items() if len(before[e]) > 1})
    if not shared:
        return "", []
    best = max(shared, key=lambda ending: (shared[ending], len(ending), ending))
    return " ".join(best), holders[best]


def _endings(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for length in range(1, min(len(words), _MAX_SUFFIX_WORDS) + 1):
        yield tuple(words[-length:])
