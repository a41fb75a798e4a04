"""Does a split that is meant to measure share rows or prompts with one that is learnt from?

Exact sharing only, answered from the ledger. Prompts are compared without their system turns, their case and their
spacing, so that evaluation items (`question`) can be held against training conversations.
"""

from collections.abc import Iterable

from luthier.data.checks.check import Check, Totals
from luthier.data.checks.finding import MAX_ROWS_NAMED, SPLIT_WORDS, Finding, Shown, SplitName
from luthier.data.checks.identify import shared_between
from luthier.data.checks.ledger import FirstRows

PAIRS: tuple[tuple[SplitName, SplitName], ...] = (("train", "valid"), ("train", "test"), ("valid", "test"))


class LeakedRows(Check):
    """Rows of valid or test that stand, question and answer, in a split before it."""

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for earlier, later in PAIRS:
            found = FirstRows(MAX_ROWS_NAMED)
            for records in shared_between(totals.ledger, "content", earlier, later):
                found.add(records)
            if found.count:
                yield Finding(
                    f"{later}_rows_in_{earlier}",
                    "error" if earlier == "train" else "warning",
                    later,
                    f"{found.count:,} of {totals.rows[later]:,} {SPLIT_WORDS[later]} rows are exact copies of "
                    f"{SPLIT_WORDS[earlier]} rows",
                    "What was learnt by heart scores full marks on them. Remove them from one of the two splits "
                    "(luthier data fix), or split again so that rows of one prompt stay together (luthier data split).",
                    found.count,
                    totals.share(found.count, later),
                    found.rows,
                )


class LeakedPrompts(Check):
    """Questions of valid or test that a split before it asks too, whatever the answer."""

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for earlier, later in PAIRS:
            found = FirstRows(MAX_ROWS_NAMED)
            for records in shared_between(totals.ledger, "question", earlier, later):
                found.add(records)
            if found.count:
                yield Finding(
                    f"{later}_prompts_in_{earlier}",
                    "warning",
                    later,
                    f"{found.count:,} of {totals.rows[later]:,} {SPLIT_WORDS[later]} prompts are asked in "
                    f"{SPLIT_WORDS[earlier]} too",
                    "A score on them says what was memorised, not what was understood. Ask in words that the other "
                    "split does not use.",
                    found.count,
                    totals.share(found.count, later),
                    found.rows,
                    shown=tuple(Shown((key,), "{0.asked}") for key in found.rows[:2]),
                )
