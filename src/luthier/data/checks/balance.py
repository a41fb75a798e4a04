"""Are the answers in balance: classes, yes and no, answers and abstentions, good and bad?

What has no classes, no thumbs and no context is passed over. Knows nothing of texts and lengths in tokens.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import MAX_ROWS_NAMED, SPLITS, Finding, SplitName, rows_word, shorten
from luthier.data.checks.label_typos import Typo, find_typos
from luthier.data.checks.labels import Class, Classes
from luthier.data.checks.row import CheckedRow

_SMALL_CLASS = 50  # rows: what an intent needs before a small model tells it from its neighbours
_TINY_CLASS = 10
_MANY_SHARE = 0.8  # a model that always says the same is right this often
_NEARLY_ALL_SHARE = 0.9
_UNEVEN_FACTOR = 20
_MIN_ROWS = 50  # below, shares are chance
_ABSTENTIONS_MIN_SHARE = 0.15
_LONGER_CHOSEN_SHARE = 0.7
_YES_NO_MIN_SHARE = 0.2
_LABELS_LISTED = 200
_NAMED = 8

_ABSTAINS = re.compile(
    r"not (?:in|found in|mentioned in|given in|stated in|answered (?:in|by)) (?:the |this )?(?:context|text|passage|"
    r"document|source)|(?:does|do|did) not (?:say|mention|state|contain|provide|answer|specify)|doesn't (?:say|mention|"
    r"state|contain|provide|answer|specify)|(?:cannot|can't|can not) (?:be answered|answer|tell|find)|"
    r"no (?:answer|information)|not (?:enough|sufficient) information|insufficient|unanswerable|"
    r"(?:do not|don't) know|not (?:mentioned|specified|stated|available|provided)\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)


class LabelBalance(Check):
    """Classes: misspelt, small, uneven, or measured without having been taught."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.classes: dict[SplitName, Classes] = {}

    def see(self, row: CheckedRow) -> None:
        if row.example is None or row.shape == "item":
            return
        classes = self.classes.get(row.split)
        if classes is None:
            classes = self.classes[row.split] = Classes()
        classes.see(row)

    def merge(self, later: Self) -> None:
        for split, classes in later.classes.items():
            self.classes.setdefault(split, Classes()).merge(classes)

    def _of(self, split: SplitName) -> Classes | None:
        classes = self.classes.get(split)
        return classes if classes is not None and classes.are_classes else None

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            classes = self._of(split)
            if classes is None:
                continue
            yield from _typos(classes, split, totals)
            if split == "train":
                yield from _small(classes, totals)
                yield from _uneven(classes, totals)
            elif (trained := self._of("train")) is not None:
                yield from _untaught(classes, trained, split, totals)

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`classes`: by split, how many there are, and the rows of the 200 most common."""
        found: dict[str, Any] = {}
        for split in SPLITS:
            if (classes := self._of(split)) is not None:
                counts = classes.counts()
                found[split] = {
                    "num_classes": len(counts),
                    "rows": {shorten(label): counts[label] for label in list(counts)[:_LABELS_LISTED]},
                }
        return {"classes": found} if found else {}


def _finding(
    name: str,
    severity: Any,
    split: SplitName,
    totals: Totals,
    classes: Iterable[Class],
    message: str,
    advice: str,
) -> Finding:
    some = list(classes)
    count = sum(one.count for one in some)
    rows = sorted(key for one in some for key in one.rows)[:MAX_ROWS_NAMED]
    return Finding(name, severity, split, message, advice, count, totals.share(count, split), tuple(rows))


def _listed(labels: Mapping[str, Class]) -> str:
    parts = [f"{shorten(label)} ({one.count:,})" for label, one in list(labels.items())[:_NAMED]]
    more = len(labels) - len(parts)
    return ", ".join(parts) + (f" and {more:,} more" if more else "")


def _typos(classes: Classes, split: SplitName, totals: Totals) -> Iterator[Finding]:
    typos: list[Typo] = find_typos({label: one.count for label, one in classes.of.items()})
    if not typos:
        return
    told = "; ".join(
        f"{shorten(repr(one.rare))} ({classes.of[one.rare].count:,}) and "
        f"{shorten(repr(one.common))} ({classes.of[one.common].count:,})"
        for one in typos[:_NAMED]
    )
    more = f" and {len(typos) - _NAMED:,} more pairs" if len(typos) > _NAMED else ""
    yield _finding(
        "label_typos",
        "warning",
        split,
        totals,
        (classes.of[label] for label in dict.fromkeys(one.rare for one in typos)),
        f"{len(typos):,} {'label looks' if len(typos) == 1 else 'labels look'} like another one, misspelt: "
        f"{told}{more}",
        "Two spellings are two classes for a model. Write each label in one way.",
    )


def _small(classes: Classes, totals: Totals) -> Iterator[Finding]:
    small = {
        label: one
        for label, one in sorted(classes.of.items(), key=lambda item: item[1].count)
        if one.count < _SMALL_CLASS
    }
    if not small:
        return
    tiny = any(one.count < _TINY_CLASS for one in small.values())
    yield _finding(
        "small_classes",
        "warning" if tiny else "note",
        "train",
        totals,
        small.values(),
        f"{len(small):,} of {len(classes.of):,} classes have under {_SMALL_CLASS} rows: {_listed(small)}",
        "The model will confuse them with their neighbours. Collect more rows of them, or join them with a class that "
        "is treated alike.",
    )


def _uneven(classes: Classes, totals: Totals) -> Iterator[Finding]:
    counts = classes.counts()
    most, least = next(iter(counts)), list(counts)[-1]
    share = counts[most] / classes.num_short
    factor = counts[most] / counts[least]
    if classes.num_short < _MIN_ROWS or (share <= _MANY_SHARE and factor < _UNEVEN_FACTOR):
        return
    yield _finding(
        "class_imbalance",
        "warning" if share > _NEARLY_ALL_SHARE else "note",
        "train",
        totals,
        [classes.of[most]],
        f"{share:.0%} of the rows are {shorten(repr(most))} ({counts[most]:,}); the rarest class, "
        f"{shorten(repr(least))}, has {counts[least]:,}",
        "A model that always says the common label is right that often: measure each class (macro-F1), and add rows "
        "of the rare ones or repeat them (luthier data mix).",
    )


def _untaught(classes: Classes, trained: Classes, split: SplitName, totals: Totals) -> Iterator[Finding]:
    unseen = {label: one for label, one in classes.of.items() if label not in trained.of}
    if unseen:
        yield _finding(
            "labels_unseen_in_train",
            "warning",
            split,
            totals,
            unseen.values(),
            f"{len(unseen):,} of {len(classes.of):,} labels never stand in the training rows: {_listed(unseen)}",
            "The model cannot learn them. Add training rows for them, or correct the spelling.",
        )


class AnswerBalance(Check):
    """Yes against no, answers against abstentions, good against bad, long against short."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.counts: Counter[tuple[SplitName, str]] = Counter()

    def see(self, row: CheckedRow) -> None:
        example = row.example
        if example is None or row.shape == "item":
            return
        split, counts = row.split, self.counts
        match example.kind:
            case "chat":
                if row.answer and (found := _YES_NO.match(row.answer)):
                    counts[split, found[1].lower()] += 1
                counts[split, "chat"] += 1
            case "retrieval":
                counts[split, "retrieval"] += 1
                if row.answer is not None and (not row.answer.strip() or _ABSTAINS.search(row.answer)):
                    counts[split, "abstains"] += 1
            case "feedback":
                counts[split, "good" if example.desirable else "bad"] += 1
            case "preference":
                counts[split, "preference"] += 1
                chosen, rejected = (
                    sum(len(m.content) for m in turns) for turns in (example.chosen, example.rejected)
                )
                if chosen > rejected:
                    self.tallies[split, "longer_chosen"].add(row)
                counts[split, "shorter_chosen"] += chosen < rejected

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        self.counts.update(later.counts)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        yield from self._yes_no(totals)
        yield from self._abstentions(totals)
        yield from self._thumbs(totals)
        yield from self._longer_chosen(totals)

    def _about(self, name: str, severity: Any, count: int, rows: int, message: str, advice: str) -> Finding:
        return Finding(name, severity, "train", message, advice, count, count / rows, examples=())

    def _yes_no(self, totals: Totals) -> Iterator[Finding]:
        yes, no, rows = (self.counts["train", name] for name in ("yes", "no", "chat"))
        both = yes + no
        if both < _MIN_ROWS or both < _YES_NO_MIN_SHARE * rows or max(yes, no) <= _NEARLY_ALL_SHARE * both:
            return
        word = "yes" if yes > no else "no"
        yield self._about(
            "yes_no_imbalance",
            "note",
            max(yes, no),
            rows,
            f"{max(yes, no):,} of the {both:,} answers that begin with yes or no begin with {word}",
            f"A model learns to say {word} before it has read the question. Add questions with the other answer.",
        )

    def _abstentions(self, totals: Totals) -> Iterator[Finding]:
        rows, abstains = self.counts["train", "retrieval"], self.counts["train", "abstains"]
        if rows < _MIN_ROWS or abstains >= _ABSTENTIONS_MIN_SHARE * rows:
            return
        yield self._about(
            "few_abstentions",
            "warning",
            abstains,
            rows,
            f"{abstains:,} of {rows_word(rows)} with a context say that the answer is not in it "
            f"({abstains / rows:.0%})",
            f"A model that hardly ever saw such a row makes an answer up. Let {_ABSTENTIONS_MIN_SHARE:.0%} or more of "
            "the rows have a context without the answer, and the same words for that each time.",
        )

    def _thumbs(self, totals: Totals) -> Iterator[Finding]:
        good, bad = self.counts["train", "good"], self.counts["train", "bad"]
        rows = good + bad
        if rows < _MIN_ROWS or max(good, bad) <= _MANY_SHARE * rows:
            return
        yield self._about(
            "thumbs_imbalance",
            "warning" if max(good, bad) > _NEARLY_ALL_SHARE * rows else "note",
            max(good, bad),
            rows,
            f"{good:,} answers have a thumb up and {bad:,} a thumb down",
            "Learning from thumbs needs both. Collect more of the rarer kind, or weigh it up.",
        )

    def _longer_chosen(self, totals: Totals) -> Iterator[Finding]:
        rows = self.counts["train", "preference"]
        tally = self.tallies.get(("train", "longer_chosen"))
        if tally is None or rows < _MIN_ROWS or tally.count <= _LONGER_CHOSEN_SHARE * rows:
            return
        yield tally.finding(
            "longer_chosen",
            "warning",
            "train",
            totals,
            f"the chosen answer is the longer one in {tally.count:,} of {rows_word(rows)} ({tally.count / rows:.0%})",
            "A model learns from this that longer is better. Add pairs whose better answer is the shorter one.",
        )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`answers`: by split, what was counted: yes/no, abstentions, thumbs, longer_chosen/shorter_chosen."""
        found: dict[str, dict[str, int]] = {}
        for (split, name), count in sorted(self.counts.items()):
            if count and name != "chat":
                found.setdefault(split, {})[name] = count
        for (split, name), tally in self.tallies.items():
            found.setdefault(split, {})[name] = tally.count
        return {"answers": {split: found[split] for split in SPLITS if split in found}} if found else {}
