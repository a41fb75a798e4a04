"""The classes of a set: counted without knowing beforehand whether there are any.

An answer is label-like if it is one short line. A set of answers is a set of classes if the rows say so
(classification), or if nearly all answers are label-like and few are distinct. At most 10,000 are counted: what has
more is no set of classes, and that is so however the rows are cut into pieces. Knows nothing of findings.
"""

from dataclasses import dataclass, field

from luthier.data.checks.finding import RowKey
from luthier.data.checks.row import CheckedRow

MAX_LABELS = 10_000
MAX_LABEL_CHARACTERS = 60
_MAX_LABEL_WORDS = 5
_MAX_CLASSES_UNSAID = 500  # where only the answers speak for classes
_MIN_ROWS_PER_CLASS = 5
_MIN_SHORT_SHARE = 0.95
_ROWS_KEPT = 5


def label_of(row: CheckedRow) -> str | None:
    """The row's answer, if it is one short line."""
    example = row.example
    if example is None or example.kind not in ("chat", "classification"):
        return None
    label = row.answer if example.label is None else example.label
    if label is None or len(label) > MAX_LABEL_CHARACTERS or "\n" in label.strip():
        return None
    if example.kind == "chat" and label.count(" ") >= _MAX_LABEL_WORDS:
        return None
    return label if label.strip() else None


@dataclass
class Class:
    """One label: how many rows have it, and the first of them."""

    count: int = 0
    rows: list[RowKey] = field(default_factory=list)


@dataclass
class Classes:
    """The labels of a split, in the order in which they first stand."""

    of: dict[str, Class] = field(default_factory=dict)
    num_said: int = 0  # rows that say that their answer is a class
    num_short: int = 0
    num_other: int = 0  # answered rows whose answer is no label
    too_many: bool = False

    def see(self, row: CheckedRow) -> None:
        label = label_of(row)
        if label is None:
            self.num_other += row.answer is not None
            return
        self.num_short += 1
        self.num_said += row.example is not None and row.example.kind == "classification"
        if self.too_many:
            return
        found = self.of.get(label)
        if found is None:
            found = self.of[label] = Class()
            self._bound()
        found.count += 1
        if len(found.rows) < _ROWS_KEPT:
            found.rows.append(row.key)

    def merge(self, later: "Classes") -> None:
        self.num_said += later.num_said
        self.num_short += later.num_short
        self.num_other += later.num_other
        self.too_many |= later.too_many
        for label, more in later.of.items():
            mine = self.of.setdefault(label, Class())
            mine.count += more.count
            mine.rows = (mine.rows + more.rows)[:_ROWS_KEPT]
        self._bound()

    def _bound(self) -> None:
        if self.too_many or len(self.of) > MAX_LABELS:
            self.too_many = True
            self.of = {}

    @property
    def are_classes(self) -> bool:
        """Is this a set of classes? At least two, each several times."""
        answered = self.num_short + self.num_other
        if self.too_many or len(self.of) < 2 or self.num_short < _MIN_SHORT_SHARE * answered:
            return False
        if self.num_said == answered:
            return True
        return len(self.of) <= min(_MAX_CLASSES_UNSAID, self.num_short // _MIN_ROWS_PER_CLASS)

    def counts(self) -> dict[str, int]:
        """Label -> rows, the most common first."""
        return {label: one.count for label, one in sorted(self.of.items(), key=lambda item: -item[1].count)}
