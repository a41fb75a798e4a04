"""Libraries that only some graders need: found, or an error that names the install command.

This file knows nothing of what they are used for.
"""

import importlib
from typing import Any

from luthier.errors import EvaluationError


def need(module: str, extra: str) -> Any:
    """The module. Raises EvaluationError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EvaluationError(
            f"this grader needs the package of {module!r}, which is not installed: pip install 'luthier[{extra}]'"
        ) from error
