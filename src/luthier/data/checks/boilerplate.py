"""Do answers speak as some other assistant: "As an AI language model ...", "I'm sorry, but I can't ..."?

Knows English phrases only, and nothing of whether a refusal was right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, rows_word
from luthier.data.checks.row import CheckedRow

# By a word that all of them hold, so that most answers are searched for these alone.
_PHRASES: dict[str, tuple[str, ...]] = {
    " ai": (
        "as an ai language model",
        "as an ai assistant, i do",
        "as an ai assistant, i can't",
        "as an ai assistant, i cannot",
        "as an ai model",
        "as an ai,",
        "i'm an ai language model",
        "i am an ai language model",
        "i'm just an ai",
        "i am just an ai",
    ),
    "language model": ("as a large language model", "as a language model"),
    "as an artificial intelligence": ("as an artificial intelligence",),
    "my knowledge cut": ("my knowledge cutoff", "my knowledge cut-off"),
    "my training data": ("my training data",),
    "as of my last": ("as of my last update", "as of my last knowledge update"),
    "by openai": ("trained by openai", "developed by openai"),
    " chatgpt": ("i am chatgpt", "i'm chatgpt"),
    " browse the internet": ("i cannot browse the internet", "i can't browse the internet"),
    " have personal ": tuple(
        f"i {cannot} have personal {what}"
        for cannot in ("don't", "do not")
        for what in ("opinions", "experiences", "preferences", "feelings")
    ),
}
_REFUSAL = re.compile(
    r"\A\W*(?:(?:i['’]m|i am) (?:really |very |so )?sorry,?|sorry,?|i apologi[sz]e,?|unfortunately,?"
    r"|as an? [\w ]{0,40},)?"
    r"[ ,]*(?:but )?(?:as an? [\w ]{0,40}, )?(?:i['’]m afraid )?"
    r"i(?: cannot| can['’]?t| can not|['’]m not able to| am not able to|['’]m unable to| am unable to| won['’]t"
    r"| will not| must decline| do not have the (?:ability|capability)| don['’]t have the (?:ability|capability))\b",
    re.IGNORECASE,
)
_OPENING = 200
_MANY_REFUSALS_SHARE = 0.1
_MANY_REFUSALS_MIN_ROWS = 10
_WARN_FROM_SHARE = 0.01  # a few are quotes, or were asked for


class Boilerplate(Check):
    """Answers with an assistant's standing phrases, and the share that refuse."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.answers = dict.fromkeys(SPLITS, 0)

    def see(self, row: CheckedRow) -> None:
        if not row.answer or row.example is None or row.example.desirable is False or row.shape == "item":
            return
        self.answers[row.split] += 1
        # "I can't wait to ..." said by a person in a text that is classified is no refusal: labels are not judged.
        if row.example.kind == "classification":
            return
        if is_refusal(row.answer):
            self.tallies[row.split, "refusals"].add(row, row.answer)
        at = _phrase_at(row.answer)
        if at is not None:
            self.tallies[row.split, "boilerplate"].add(row, row.answer[max(0, at - 30) : at + 120])

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split, count in later.answers.items():
            self.answers[split] += count

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            tallies, answers = self.tallies.of(split), self.answers[split]
            if "boilerplate" in tallies:
                tally = tallies["boilerplate"]
                yield tally.finding(
                    "assistant_boilerplate",
                    "warning" if totals.share(tally.count, split) >= _WARN_FROM_SHARE else "note",
                    split,
                    totals,
                    f"{tally.count:,} of {rows_word(totals.rows[split])} answer as another assistant would "
                    '("As an AI language model ...")',
                    "The model would take over who it says it is: rewrite these answers, or remove the rows.",
                )
            refusals = tallies.get("refusals")
            if refusals is None or refusals.count < _MANY_REFUSALS_MIN_ROWS:
                continue
            if refusals.count >= _MANY_REFUSALS_SHARE * answers:
                yield refusals.finding(
                    "many_refusals",
                    "warning",
                    split,
                    totals,
                    f"{refusals.count:,} of {answers:,} answers refuse ({refusals.count / answers:.0%})",
                    "A model tuned on these refuses more than it should. Keep only the refusals that are the task.",
                )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        shares = {
            split: {
                "answers": self.answers[split],
                "refusals": count,
                "refusal_share": round(count / self.answers[split], 6),
            }
            for split in SPLITS
            if self.answers[split]
            for count in [self.tallies[split, "refusals"].count if (split, "refusals") in self.tallies else 0]
        }
        return {"refusals": shares} if shares else {}


def _phrase_at(answer: str) -> int | None:
    """Where the first standing phrase begins."""
    low = answer.lower().replace("’", "'")
    found = [
        low.index(one) for word, phrases in _PHRASES.items() if word in low for one in phrases if one in low
    ]
    return min(found, default=None)


def is_refusal(answer: str) -> bool:
    """Does an answer begin by saying that it will not, or cannot, do what was asked?"""
    return _REFUSAL.match(answer[:_OPENING]) is not None
