"""The checks that run before a step is paid for.

Each check is a plain function from the rows to its findings; `CHECKS` is the list of them. This first form
holds all rows in memory and reads JSON lines only. This room knows nothing of models or tokens.
"""

from collections.abc import Sequence
from pathlib import Path

from luthier.data.checks.duplicates import check_conflicts, check_duplicate_rows, check_few_answers
from luthier.data.checks.finding import SPLITS, Check, CheckedData, CheckedRow, Finding, SplitName
from luthier.data.checks.leakage import check_leaked_prompts, check_leaked_rows, check_unseen_suffix
from luthier.data.checks.report import Report, render_report, sort_findings, summarise
from luthier.data.checks.rows import read_checked
from luthier.data.checks.shape import check_shape
from luthier.data.checks.text import check_placeholders

__all__ = ["CHECKS", "Finding", "Report", "check_files", "render_report"]

CHECKS: tuple[Check, ...] = (
    check_shape,
    check_leaked_rows,
    check_leaked_prompts,
    check_duplicate_rows,
    check_few_answers,
    check_conflicts,
    check_unseen_suffix,
    check_placeholders,
)


def check_files(train: Sequence[Path], valid: Path | None = None, test: Path | None = None) -> Report:
    """Read the files and run every check; valid and test may hold evaluation items.

    Raises DataError where a file as a whole cannot be read (missing, empty, not JSON lines). What is wrong
    with single rows is not raised: all of it is in the report.
    """
    rows: dict[SplitName, list[CheckedRow]] = {name: [] for name in SPLITS}
    files = []
    places: list[tuple[SplitName, Path]] = [("train", path) for path in train]
    if valid is not None:
        places.append(("valid", valid))
    if test is not None:
        places.append(("test", test))
    for split, path in places:
        read = read_checked(path, split)
        files.append(summarise(str(path), split, read))
        rows[split] += read
    data = CheckedData(rows["train"], rows["valid"], rows["test"])
    findings = [finding for check in CHECKS for finding in check(data)]
    return Report(tuple(files), sort_findings(findings))
