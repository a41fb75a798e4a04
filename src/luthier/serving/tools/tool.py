"""What a tool is: a name and a function from the text in its tag to the text that takes its place."""

from collections.abc import Callable
from dataclasses import dataclass

from luthier.errors import ServingError


class ToolFailed(ServingError):
    """A tool has no result; the message says why, in words for whoever reads the answer."""


@dataclass(frozen=True)
class Tool:
    """`example`: what stands in a tag. `run` raises ToolFailed where there is no result."""

    name: str
    description: str
    example: str
    run: Callable[[str], str]
