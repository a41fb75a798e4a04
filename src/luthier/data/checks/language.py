"""Which language is each row in, and which rows are in another than most?

Naming a language costs a hundred times what all other checks of a row cost, so of a large split a sample is looked at:
the rows whose content has the smallest identities, the same ones however the files are read. Languages are named by
py3langid, from the answer's first letters. Knows nothing of what the texts are for.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, Self

from luthier.data.checks.check import Check, Context, Tally, Totals
from luthier.data.checks.finding import SPLITS, Finding, RowKey, SplitName, shorten
from luthier.data.checks.row import CheckedRow
from luthier.data.example import Example

MAX_ROWS_LOOKED_AT = 5_000  # of a split: a share is known to within about 1.5 points, in about a second
_MAX_CHARACTERS = 400
_MIN_LETTERS = 40  # names and fragments look like any language
_MIN_CONFIDENCE = 0.7  # below, py3langid was wrong more often than right on lists, code and short lines
_MIN_MAJORITY = 0.7  # with less, the set is meant to speak several languages
_WARN_FROM_SHARE = 0.02
_MIN_OTHERS = 2
_SAY_FROM_SHARE = 0.005  # fewer are quotes, names, and the errors of py3langid
_MAX_TURNS = 4
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_ABOUT_LANGUAGES = re.compile(
    r"\b(?:translat\w*|paraphrase in|(?:in|to|into|from) (?:arabic|chinese|dutch|english|french|german|greek|hindi|"
    r"italian|japanese|korean|latin|polish|portuguese|romanian|russian|spanish|turkish|ukrainian|vietnamese))\b",
    re.IGNORECASE,
)
_NOT_A_LANGUAGE = frozenset({"zxx", "und"})


class _Sampled(NamedTuple):
    """What is kept of a row: the beginnings of its answer, and of all its texts."""

    key: RowKey
    answer: str
    texts: tuple[str, ...]

    def to_judge(self) -> str | None:
        """The answer, or where it is short the whole row; None where both are too short to tell."""
        for text in (self.answer, "\n".join(reversed(self.texts))[: 2 * _MAX_CHARACTERS]):
            prose = _CODE.sub(" ", text) if "```" in text else text
            if sum(map(str.isalpha, prose)) >= _MIN_LETTERS:
                return prose
        return None

    def is_about_languages(self) -> bool:
        return any(_ABOUT_LANGUAGES.search(text) for text in self.texts)


class OtherLanguage(Check):
    """Rows in another language than most rows of their split."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.samples: dict[SplitName, dict[int, _Sampled]] = {split: {} for split in SPLITS}
        self.limits: dict[SplitName, int] = dict.fromkeys(SPLITS, 1 << 64)
        self._named: dict[SplitName, list[tuple[_Sampled, str]]] | None = None

    def see(self, row: CheckedRow) -> None:
        if row.example is None:
            return
        content = row.content_id
        sample = self.samples[row.split]
        if content == 0 or content > self.limits[row.split] or content in sample:
            return
        sample[content] = _sampled(row, row.example)
        if len(sample) >= 2 * MAX_ROWS_LOOKED_AT:
            self._cut(row.split)

    def finish(self) -> None:
        for split in SPLITS:
            self._cut(split)

    def merge(self, later: Self) -> None:
        for split in SPLITS:
            self.samples[split] = {**later.samples[split], **self.samples[split]}
            self.limits[split] = min(self.limits[split], later.limits[split])
            self._cut(split)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            named = self._name()[split]
            counts = Counter(language for _, language in named)
            if not counts:
                continue
            usual, times = min(counts.items(), key=lambda item: (-item[1], item[0]))
            others = [(one, name) for one, name in named if name != usual and not one.is_about_languages()]
            others.sort(key=lambda item: item[0].key)
            share = len(others) / len(named)
            if len(others) < _MIN_OTHERS or share < _SAY_FROM_SHARE or times < _MIN_MAJORITY * len(named):
                continue
            others_named = Counter(name for _, name in others)
            tally = Tally(len(others), [one.key for one, _ in others][:20])
            listed = ", ".join(f"{name} ({n:,})" for name, n in _most(others_named))
            finding = tally.finding(
                "other_language",
                "warning" if share >= _WARN_FROM_SHARE else "note",
                split,
                totals,
                f"{len(others):,} of the {len(named):,} distinct rows looked at are in another language than {usual}: "
                f"{listed}",
                "If one language is meant, remove these rows. If several are, see that valid and test have them too.",
                examples=[f"[{name}] {shorten(one.to_judge() or '', 140)}" for one, name in others[:2]],
            )
            yield replace(finding, share=share)

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        languages = {}
        for split in SPLITS:
            named = self._name()[split]
            if named:
                counts = Counter(language for _, language in named)
                languages[split] = {"rows_looked_at": len(named), "languages": dict(_most(counts))}
        return {"languages": languages} if languages else {}

    def _cut(self, split: SplitName) -> None:
        """Keep the smallest identities: what is left does not depend on where the rows were cut into pieces."""
        sample = self.samples[split]
        if len(sample) > MAX_ROWS_LOOKED_AT:
            kept = heapq.nsmallest(MAX_ROWS_LOOKED_AT, sample)
            self.limits[split] = kept[-1]
            self.samples[split] = {content: sample[content] for content in kept}

    def _name(self) -> dict[SplitName, list[tuple[_Sampled, str]]]:
        if self._named is None:
            self._named = {split: list(_judged(self.samples[split].values())) for split in SPLITS}
        return self._named


def _sampled(row: CheckedRow, example: Example) -> _Sampled:
    if example.kind == "classification":
        text = (example.text or "")[:_MAX_CHARACTERS]
        return _Sampled(row.key, text, (text,))
    texts = tuple(text[:_MAX_CHARACTERS] for text in row.texts()[-_MAX_TURNS:])
    return _Sampled(row.key, (row.answer or "")[:_MAX_CHARACTERS], texts)


def _judged(sample: Iterable[_Sampled]) -> Iterator[tuple[_Sampled, str]]:
    for one in sample:
        text = one.to_judge()
        language = None if text is None else language_of(text)
        if language is not None:
            yield one, language


def language_of(text: str) -> str | None:
    """The language of a text as an ISO 639 code; None where it cannot be said with confidence."""
    language, confidence = _identifier().classify(text)
    return None if confidence < _MIN_CONFIDENCE or language in _NOT_A_LANGUAGE else str(language)


@cache
def _identifier() -> Any:
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
