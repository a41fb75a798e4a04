"""Answers that are meant to be JSON, and calls of tools: can they be read, and do they have one form?

Knows nothing of what the values mean.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import MAX_ROWS_NAMED, SPLITS, Finding, RowKey, SplitName, rows_word
from luthier.data.checks.row import CheckedRow

_MEANT_SHARE = 0.8  # of the answers: then the set is meant to be JSON, and the others are slips
_MIN_ANSWERS = 10
_MAX_FORMS = 10_000
_MAX_KEYS = 64
_AGREED_SHARE = 0.9  # of the objects: then the others are slips, and not options
_STRANGE_SHARE = 0.01
_MIN_OBJECTS = 20
_ROWS_KEPT = 5
_WRITTEN_HERE = frozenset(
    {"spans", "tags"}
)  # formats whose JSON is made while reading: valid, one value or a list

Form = tuple[tuple[str, str], ...]


@dataclass
class _Forms:
    """How often objects have which keys with values of which types; at most 10,000 forms, beyond there is no form."""

    of: dict[Form, list[Any]] = field(default_factory=dict)  # form -> [count, first rows]
    too_many: bool = False

    def add(self, form: Form, key: RowKey) -> None:
        if self.too_many:
            return
        found = self.of.setdefault(form, [0, []])
        found[0] += 1
        if len(found[1]) < _ROWS_KEPT:
            found[1].append(key)
        self._bound()

    def merge(self, later: "_Forms") -> None:
        self.too_many |= later.too_many
        for form, (count, rows) in later.of.items():
            mine = self.of.setdefault(form, [0, []])
            mine[0] += count
            mine[1] = (mine[1] + rows)[:_ROWS_KEPT]
        self._bound()

    def _bound(self) -> None:
        if self.too_many or len(self.of) > _MAX_FORMS:
            self.too_many, self.of = True, {}


class StructuredAnswers(Check):
    """JSON answers: unreadable ones, and objects unlike nearly all others."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.counts: Counter[tuple[SplitName, str]] = Counter()
        self.forms: dict[SplitName, _Forms] = {}

    def see(self, row: CheckedRow) -> None:
        if not row.answer or row.shape == "item" or row.shape in _WRITTEN_HERE:
            return
        self.counts[row.split, "answers"] += 1
        text = _unfenced(row.answer)
        if text[:1] not in ("{", "["):
            return
        self.counts[row.split, "json"] += 1
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            self.tallies[row.split, "invalid"].add(row, f"{why}: {row.answer}")
            return
        if isinstance(value, dict) and len(value) <= _MAX_KEYS:
            form = tuple(sorted((key, _type_of(one)) for key, one in value.items()))
            self.forms.setdefault(row.split, _Forms()).add(form, row.key)

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        self.counts.update(later.counts)
        for split, forms in later.forms.items():
            self.forms.setdefault(split, _Forms()).merge(forms)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            answers, meant = self.counts[split, "answers"], self.counts[split, "json"]
            if answers < _MIN_ANSWERS or meant < _MEANT_SHARE * answers:
                continue
            if (tally := self.tallies.get((split, "invalid"))) is not None:
                yield tally.finding(
                    "invalid_json_answers",
                    "error",
                    split,
                    totals,
                    f"{tally.count:,} of {meant:,} answers that begin like JSON are not valid JSON",
                    "The model would learn to write JSON that no program reads. Correct them, or remove the rows.",
                )
            yield from self._unlike(split, totals)

    def _unlike(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        forms = self.forms.get(split)
        if forms is None or forms.too_many:
            return
        whys = _slips(forms)
        if not whys:
            return
        told = Counter[str]()
        for form, why in whys.items():
            told.update(dict.fromkeys(why, forms.of[form][0]))
        count = sum(forms.of[form][0] for form in whys)
        rows = sorted(key for form in whys for key in forms.of[form][1])[:MAX_ROWS_NAMED]
        listed = "; ".join(f"{why} ({number:,})" for why, number in told.most_common(4))
        yield Finding(
            "schema_differs",
            "warning",
            split,
            f"{count:,} of {rows_word(totals.rows[split])} answer with an object unlike nearly all others: {listed}",
            "Give every object the same keys with values of the same types; write null for what is absent.",
            count,
            totals.share(count, split),
            tuple(rows),
        )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`json_answers`: by split, how many answers begin like JSON, are valid, and in how many forms objects come."""
        found = {}
        for split in SPLITS:
            if meant := self.counts[split, "json"]:
                invalid, forms = self.tallies.get((split, "invalid")), self.forms.get(split)
                found[split] = {
                    "answers": self.counts[split, "answers"],
                    "json": meant,
                    "invalid": invalid.count if invalid else 0,
                    "object_forms": None if forms is None or forms.too_many else len(forms.of),
                }
        return {"json_answers": found} if found else {}


def _slips(forms: _Forms) -> dict[Form, list[str]]:
    """The forms that break what nearly all objects agree on, each with what it breaks."""
    objects = sum(count for count, _ in forms.of.values())
    if objects < _MIN_OBJECTS:
        return {}
    present: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    for form, (count, _) in forms.of.items():
        for key, type_name in form:
            present[key] += count
            types.setdefault(key, Counter())[type_name] += count
    needed = {key for key, count in present.items() if count >= _AGREED_SHARE * objects}
    typed = {}
    for key, counts in types.items():
        counts.pop("null", None)  # what is absent has no type
        if present[key] >= _MIN_OBJECTS and counts:
            name, count = counts.most_common(1)[0]
            if count >= _AGREED_SHARE * counts.total():
                typed[key] = name
    strict = max(count for count, _ in forms.of.values()) >= _AGREED_SHARE * objects
    slips = {}
    for form in forms.of:
        have = dict(form)
        why = [f"key {key!r} is missing" for key in sorted(needed - have.keys())]
        why += [
            f"{key!r} is {one}, not {typed[key]}"
            for key, one in form
            if one not in ("null", typed.get(key, one))
        ]
        if strict:
            why += [f"key {key!r} is strange" for key in have if present[key] <= _STRANGE_SHARE * objects]
        if why:
            slips[form] = why
    return slips


def _unfenced(answer: str) -> str:
    """The answer without the fence of a Markdown code block."""
    text = answer.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json").strip()
    return text


_TYPES: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _type_of(value: Any) -> str:
    return _TYPES[type(value)]
