"""The checks that run before a step is paid for.

Each check is a small class in a file of its own; `CHECKS` is the list of them, in the order in which they speak.
This room knows nothing of models: a tokenizer, where one is wanted, is handed in.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.data.checks.balance import AnswerBalance, LabelBalance
from luthier.data.checks.benchmarks import BenchmarkOverlap
from luthier.data.checks.boilerplate import Boilerplate
from luthier.data.checks.check import Check, Context
from luthier.data.checks.choices import MultipleChoice
from luthier.data.checks.controls import ControlStrings
from luthier.data.checks.diversity import RepeatedOpenings, WordDiversity
from luthier.data.checks.duplicates import ConflictingAnswers, DuplicateRows, FewDistinctAnswers
from luthier.data.checks.encoding import Encoding
from luthier.data.checks.endings import TruncatedAnswers
from luthier.data.checks.engine import OnBytes, Place, check_places, total_bytes
from luthier.data.checks.finding import ReportedFinding
from luthier.data.checks.habits import UnseenHabits
from luthier.data.checks.header_row import HeaderRow
from luthier.data.checks.images import Images
from luthier.data.checks.label_leakage import LabelLeakage
from luthier.data.checks.language import OtherLanguage
from luthier.data.checks.leakage import LeakedPrompts, LeakedRows
from luthier.data.checks.length import CharacterLengths, TokenLengths
from luthier.data.checks.mixed_formats import MixedFormats
from luthier.data.checks.near_duplicates import NearDuplicates
from luthier.data.checks.placeholders import Placeholders
from luthier.data.checks.report import Report
from luthier.data.checks.screen import render_report
from luthier.data.checks.secrets import Secrets
from luthier.data.checks.semantic_duplicates import SemanticDuplicates
from luthier.data.checks.shape import Shape
from luthier.data.checks.size import Size
from luthier.data.checks.structured import StructuredAnswers
from luthier.data.checks.system_prompts import SystemPrompts
from luthier.data.checks.tool_calls import ToolCalls

if TYPE_CHECKING:
    from luthier.chat.render import Renderer
    from luthier.data.checks.benchmarks import Benchmark

__all__ = ["CHECKS", "Report", "ReportedFinding", "check_files", "render_report", "total_bytes"]

CHECKS: tuple[type[Check], ...] = (
    Shape,
    HeaderRow,
    MixedFormats,
    Images,
    LeakedRows,
    LeakedPrompts,
    DuplicateRows,
    FewDistinctAnswers,
    UnseenHabits,
    ConflictingAnswers,
    NearDuplicates,
    SemanticDuplicates,
    BenchmarkOverlap,
    RepeatedOpenings,
    WordDiversity,
    LabelLeakage,
    LabelBalance,
    AnswerBalance,
    MultipleChoice,
    StructuredAnswers,
    ToolCalls,
    SystemPrompts,
    Placeholders,
    ControlStrings,
    TruncatedAnswers,
    Encoding,
    Boilerplate,
    Secrets,
    OtherLanguage,
    TokenLengths,
    CharacterLengths,
    Size,
)


def check_files(
    train: Sequence[Place] | Place,
    valid: Sequence[Place] | Place | None = None,
    test: Sequence[Place] | Place | None = None,
    *,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    kind: str | None = None,
    repair_encoding: bool = False,
    open_renderer: "Callable[[], Renderer] | None" = None,
    max_length: int = 1024,
    batch_size: int = 16,
    placeholders: frozenset[str] = frozenset(),
    task: str | None = None,
    system_prompt: str | None = None,
    semantic: bool = False,
    benchmarks: "Mapping[str, Benchmark] | None" = None,
    workers: int = 1,
    on_bytes: OnBytes | None = None,
) -> Report:
    """Read the files and run every check; valid and test may hold evaluation items.

    Places are whatever `luthier.data.sources.find_files` reads. With `workers` over 1, large files are read by that
    many processes; the report is the same. Raises DataError where a place names no file. What is wrong with files and
    rows is not raised: all of it is in the report.
    """
    context = partial(
        Context,
        open_renderer=open_renderer,
        max_length=max_length,
        batch_size=batch_size,
        placeholders=placeholders,
        task=task,
        system_prompt=system_prompt,
        semantic=semantic,
        benchmarks=benchmarks or {},
    )
    return check_places(
        {"train": _places(train), "valid": _places(valid), "test": _places(test)},
        CHECKS,
        context,
        kind=kind,
        format=format,
        fields=fields,
        repair_encoding=repair_encoding,
        workers=workers,
        on_bytes=on_bytes,
    )


def _places(places: Sequence[Place] | Place | None) -> list[Place]:
    if places is None:
        return []
    return [places] if isinstance(places, str | Path) else list(places)
