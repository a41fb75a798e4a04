"""Do rows hold personal data or secrets: e-mail addresses, phone, card and account numbers, keys, tokens, passwords?

A model can be made to say what it was trained on. What is found is never shown: every example is masked, which hides
more than the check counts. Knows nothing of how private things look: `luthier.private` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, SplitName, rows_word
from luthier.data.checks.row import CheckedRow
from luthier.private import KEY_KINDS, PERSONAL, SECRET, Secret, find_secrets, mask


class Secrets(Check):
    """Rows with personal data, and rows with keys, tokens or passwords."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.kinds: dict[SplitName, Counter[str]] = {split: Counter() for split in SPLITS}

    def see(self, row: CheckedRow) -> None:
        held: dict[str, str] = {}
        for text in row.texts():
            for secret in find_secrets(text):
                held.setdefault(secret.kind, _around(text, secret))
        if not held:
            return
        self.kinds[row.split].update(held.keys())
        for name, kinds in (("personal_data", PERSONAL), ("secrets", SECRET)):
            example = next((held[kind] for kind in kinds if kind in held), None)
            if example is not None:
                self.tallies[row.split, name].add(row, example)

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split, kinds in later.kinds.items():
            self.kinds[split].update(kinds)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            tallies, kinds = self.tallies.of(split), self.kinds[split]
            rows = rows_word(totals.rows[split])
            if "secrets" in tallies:
                tally = tallies["secrets"]
                yield tally.finding(
                    "secrets",
                    # A password in the text may be made up; a key in a provider's form seldom is.
                    "error" if any(kinds[kind] for kind in KEY_KINDS) else "warning",
                    split,
                    totals,
                    f"{tally.count:,} of {rows} hold what looks like secrets: {_listed(kinds, SECRET)}",
                    "Replace them before training, and revoke those that are real: a model can be made to say them.",
                )
            if "personal_data" in tallies:
                tally = tallies["personal_data"]
                yield tally.finding(
                    "personal_data",
                    "warning",
                    split,
                    totals,
                    f"{tally.count:,} of {rows} hold what looks like personal data: {_listed(kinds, PERSONAL)}",
                    "Replace what belongs to real people by made-up values. Invented ones may stay.",
                )


def _listed(kinds: Counter[str], names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({kinds[name]:,})" for name in names if kinds[name])


_CONTEXT = 300  # more than is shown, so that what is cut at its far end is never seen


def _around(text: str, secret: Secret) -> str:
    """The words around a secret, masked before anything is cut away."""
    found = text[secret.start : secret.end]
    shown = f"{found[:2]}***" if secret.kind in PERSONAL else "***"
    if secret.kind == "e-mail address":
        shown = mask(found)
    before, after = (
        text[max(0, secret.start - _CONTEXT) : secret.start],
        text[secret.end : secret.end + _CONTEXT],
    )
    return f"{mask(before.replace(found, '***'))[-50:]}{shown}{mask(after.replace(found, '***'))[:50]}"
