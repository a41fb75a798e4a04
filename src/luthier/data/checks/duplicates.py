"""How much of a split is there twice: rows, prompts with several answers, answers.

Exact repetition only; near-duplicates are not looked for. Knows nothing of other splits.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from luthier.data.checks.finding import CheckedData, CheckedRow, Finding, finding, shorten

_DUPLICATES_MIN_SHARE = 0.01  # a few copies among many rows change nothing
_FEW_ANSWERS_SHARE = 0.1  # fewer distinct answers than one row in ten
_FEW_ANSWERS_MIN_ROWS = 50
_LABEL_MAX_WORDS = 3  # answers this short are taken for the labels of a classification, which do repeat


def check_duplicate_rows(data: CheckedData) -> Iterable[Finding]:
    """Rows that say exactly what an earlier row of the split says; ids and tags do not count."""
    for _, rows in data.splits():
        times: Counter[str] = Counter()
        copies = []
        for row in rows:
            if row.content is not None:
                times[row.content] += 1
                if times[row.content] > 1:
                    copies.append(row)
        if copies:
            yield finding(
                "duplicate_rows",
                "warning" if len(copies) >= _DUPLICATES_MIN_SHARE * len(rows) else "note",
                copies,
                rows,
                f"{len(copies)} of {len(rows)} rows repeat an earlier row; only {len(times)} are distinct",
                "A copy teaches nothing that another epoch would not: remove the copies, and set more "
                "epochs if more passes are wanted.",
            )


def check_conflicts(data: CheckedData) -> Iterable[Finding]:
    """Prompts that are answered in more than one way."""
    for _, rows in data.splits():
        by_prompt: dict[str, list[CheckedRow]] = defaultdict(list)
        for row in rows:
            if row.prompt is not None and row.answer is not None:
                by_prompt[row.prompt].append(row)
        groups = [group for group in by_prompt.values() if len({row.content for row in group}) > 1]
        if groups:
            found = sorted(
                (row for group in groups for row in group), key=lambda row: (str(row.path), row.number)
            )
            yield finding(
                "conflicting_answers",
                "warning",
                found,
                rows,
                f"{len(groups)} prompts have more than one answer ({len(found)} of {len(rows)} rows)",
                "If only one of the answers is right, keep that one. If several are meant, leave them.",
                examples=[_conflict(group) for group in groups],
            )


def _conflict(group: list[CheckedRow]) -> str:
    answers = list(dict.fromkeys(shorten(row.answer or "", 50) for row in group))
    return f"{shorten(group[0].asked, 55)} -> {' | '.join(answers[:2])}"


def check_few_answers(data: CheckedData) -> Iterable[Finding]:
    """Many rows that all end in one of a few answers of several words: recited, not learnt."""
    rows = data.train
    answered = [row for row in rows if row.answer]
    times = Counter(row.answer for row in answered if row.answer)
    if len(answered) < _FEW_ANSWERS_MIN_ROWS or len(times) >= _FEW_ANSWERS_SHARE * len(answered):
        return
    if sorted(len(answer.split()) for answer in times)[len(times) // 2] <= _LABEL_MAX_WORDS:
        return
    yield finding(
        "few_distinct_answers",
        "warning",
        answered,
        rows,
        f"{len(answered)} rows have only {len(times)} distinct answers",
        "A model can recite these sentences without understanding the questions. Word the answers in many "
        "ways, and add questions whose answer joins several facts.",
        examples=[f"{count} times: {answer}" for answer, count in times.most_common(2)],
    )
