"""Checks over the real files that no one here wrote."""

from functools import partial
from typing import Any

from luthier.data.checks.check import Check, Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.report import Report
from tests.data.shared import SHARED


def report_on(path: str, *check_classes: type[Check], **context: Any) -> Report:
    """What these checks say about a file or folder of the real data, as training rows."""
    return check_places({"train": [SHARED / path]}, check_classes, partial(Context, **context))


def names(report: Report) -> list[tuple[str, str, int]]:
    """(severity, name, count) of each finding."""
    return [(one.severity, one.name, one.count) for one in report.findings]
