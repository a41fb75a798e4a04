"""What is in the files, in figures: kinds, turns, lengths, classes, languages. Nothing is judged.

The figures are those of the checks, from one pass over the rows. Knows nothing of terminals and of models: a renderer,
where tokens are wanted, is handed in.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from luthier.data.checks.balance import AnswerBalance, LabelBalance
from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.choices import MultipleChoice
from luthier.data.checks.engine import OnBytes, Place, check_places
from luthier.data.checks.finding import SPLITS, Finding, SplitName
from luthier.data.checks.language import OtherLanguage
from luthier.data.checks.length import CharacterLengths, TokenLengths
from luthier.data.checks.report import FileSummary
from luthier.data.checks.row import CheckedRow
from luthier.data.checks.structured import StructuredAnswers
from luthier.data.checks.tool_calls import ToolCalls
from luthier.errors import DataError

if TYPE_CHECKING:
    from luthier.chat.render import Renderer

_MANY_TURNS = 100


class Turns(Check):
    """What rows are made of: their kinds, how many turns, with system turns, tools, reasoning, images or not."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.parts: Counter[tuple[SplitName, str]] = Counter()
        self.turns: Counter[tuple[SplitName, int]] = Counter()

    def see(self, row: CheckedRow) -> None:
        example, split = row.example, row.split
        if example is None:
            self.parts[split, "unreadable"] += 1
            return
        self.parts[split, "item" if row.shape == "item" else example.kind] += 1
        if example.kind == "text":
            return
        messages = row.messages
        self.turns[split, min(sum(m.role != "system" for m in messages), _MANY_TURNS)] += 1
        self.parts[split, "with_system"] += any(m.role == "system" for m in messages)
        self.parts[split, "with_tools"] += bool(example.conversation.tools)
        self.parts[split, "with_tool_calls"] += any(m.tool_calls for m in messages)
        self.parts[split, "with_reasoning"] += any(m.reasoning for m in messages)
        self.parts[split, "with_images"] += bool(example.images)

    def merge(self, later: Self) -> None:
        self.parts.update(later.parts)
        self.turns.update(later.turns)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        return ()

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`kinds`, `turns` (turns of a row, system turns not counted -> rows), `parts`: by split, zeros left out."""
        kinds: dict[str, dict[str, int]] = {}
        parts: dict[str, dict[str, int]] = {}
        for (split, name), count in self.parts.items():
            if count:
                (parts if name.startswith("with_") else kinds).setdefault(split, {})[name] = count
        turns: dict[str, dict[str, int]] = {}
        for (split, number), count in sorted(self.turns.items(), key=lambda item: item[0][1]):
            name = f"{number}+" if number == _MANY_TURNS else str(number)
            turns.setdefault(split, {})[name] = count
        named = {"kinds": kinds, "turns": turns, "parts": parts}
        return {
            name: {split: figure[split] for split in SPLITS if split in figure}
            for name, figure in named.items()
            if figure
        }


FIGURES: tuple[type[Check], ...] = (
    Turns,
    CharacterLengths,
    TokenLengths,
    LabelBalance,
    AnswerBalance,
    MultipleChoice,
    StructuredAnswers,
    ToolCalls,
    OtherLanguage,
)


@dataclass(frozen=True)
class Stats:
    """Each file as it was read, and the figures of all rows together."""

    files: tuple[FileSummary, ...]
    figures: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        return sum(file.num_rows for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values; `figures` has no splits."""
        return {
            "rows": self.num_rows,
            "files": [{k: v for k, v in file.to_dict().items() if k != "split"} for file in self.files],
            "figures": dict(self.figures),
        }


def count_stats(
    places: Sequence[Place],
    *,
    open_renderer: "Callable[[], Renderer] | None" = None,
    max_length: int = 1024,
    batch_size: int = 16,
    kind: str | None = None,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    repair_encoding: bool = False,
    workers: int = 1,
    on_bytes: OnBytes | None = None,
) -> Stats:
    """The figures of all files together. Raises DataError where a place names no file, or a file cannot be read."""
    context = partial(Context, open_renderer=open_renderer, max_length=max_length, batch_size=batch_size)
    report = check_places(
        {"train": list(places)},
        FIGURES,
        context,
        kind=kind,
        format=format,
        fields=fields,
        repair_encoding=repair_encoding,
        workers=workers,
        on_bytes=on_bytes,
    )
    for finding in report.findings:
        if finding.name == "unreadable_file":
            raise DataError(finding.message)
    figures = {name: _without_split(figure) for name, figure in report.figures.items()}
    cannot = next((one for one in report.findings if one.name == "cannot_render"), None)
    if cannot is not None:
        figures["cannot_render"] = {"rows": cannot.count, "why": cannot.message}
    return Stats(report.files, figures)


def _without_split(figure: Any) -> Any:
    return figure["train"] if isinstance(figure, Mapping) and set(figure) <= set(SPLITS) else figure
