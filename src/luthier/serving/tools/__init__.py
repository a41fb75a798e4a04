"""Tools that an answer may call by a tag, such as <calculator>12 * 7</calculator>: the tag becomes the result."""

from luthier.serving.tools.plugins import load_tools
from luthier.serving.tools.tags import Limits, expand_tool_tags
from luthier.serving.tools.tool import Tool, ToolFailed

__all__ = ["Limits", "Tool", "ToolFailed", "expand_tool_tags", "load_tools"]
