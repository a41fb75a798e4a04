"""Tools by name: those that ship, a `luthier.tools` entry point, or `package.module:ATTRIBUTE`. Each is a `Tool`.

Knows nothing of what a tool does.
"""

import importlib
import re
from collections.abc import Sequence
from importlib.metadata import entry_points

from luthier.errors import ConfigError
from luthier.serving.tools.calculator import CALCULATOR
from luthier.serving.tools.dates import DATES
from luthier.serving.tools.tool import Tool
from luthier.serving.tools.units import CONVERT

GROUP = "luthier.tools"
BUILT_IN = {tool.name: tool for tool in (CALCULATOR, CONVERT, DATES)}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def load_tools(names: Sequence[str] = tuple(BUILT_IN)) -> tuple[Tool, ...]:
    """Raises ConfigError for a name that is none, does not import or gives no Tool, and for two of one name."""
    tools = tuple(find_tool(name) for name in names)
    twice = sorted({tool.name for tool in tools if sum(one.name == tool.name for one in tools) > 1})
    if twice:
        raise ConfigError(f"tools: expected one of each name, got several of {', '.join(twice)}")
    return tools


def find_tool(name: str) -> Tool:
    """The tool behind a name. Raises ConfigError."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    known = {point.name: point for point in entry_points(group=GROUP)}
    module, colon, attribute = name.partition(":")
    if name not in known and not colon:
        names = ", ".join([*BUILT_IN, *sorted(known)])
        raise ConfigError(f"tools: expected {names} or package.module:ATTRIBUTE; got {name!r}")
    try:
        found = known[name].load() if name in known else getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"tools: {name} cannot be loaded: {error}") from error
    if not isinstance(found, Tool) or not _NAME.fullmatch(found.name):
        raise ConfigError(
            f"tools: {name}: expected a luthier.serving.tools.Tool with a name of a-z, 0-9, _ and -"
        )
    return found
