"""An answer with tool tags -> the answer with their results. Knows nothing of single tools and of who wrote the answer.

A tool that fails, takes too long or is broken is told in square brackets where its tag stood: no answer fails by it.
Tags of tools that are not offered, and tags that are not closed, stay as they are.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.serving.tools.tool import Tool, ToolFailed


@dataclass(frozen=True)
class Limits:
    """Of one answer. What is longer or more is not run, and it is said; results are cut."""

    max_tags: int = 8
    max_input_characters: int = 1_000
    max_output_characters: int = 2_000
    timeout_seconds: float = 2.0


def expand_tool_tags(text: str, tools: Sequence[Tool], limits: Limits | None = None) -> str:
    """The text with each tag of these tools replaced by its result. It blocks while tools run."""
    if not tools or "</" not in text:
        return text
    limits = limits or Limits()
    by_name = {tool.name: tool for tool in tools}
    names = "|".join(map(re.escape, by_name))
    num_run = 0

    def result(match: re.Match[str]) -> str:
        nonlocal num_run
        num_run += 1
        if num_run > limits.max_tags:
            return f"[{match[1]}: not run, at most {limits.max_tags} tools an answer]"
        return _run(by_name[match[1]], match[2].strip(), limits)

    # What a tag holds has no "<" that could begin another one, so that the search never goes back.
    return re.sub(rf"<({names})>((?:[^<]|<(?!/?(?:{names})>))*)</\1>", result, text)


def _run(tool: Tool, argument: str, limits: Limits) -> str:
    if len(argument) > limits.max_input_characters:
        return f"[{tool.name}: not run, at most {limits.max_input_characters} characters]"
    results: list[str] = []
    # A thread that does not end is left behind: nothing in Python can stop it, and the answer must not wait.
    worker = threading.Thread(target=lambda: results.append(_said(tool, argument)), daemon=True)
    worker.start()
    worker.join(limits.timeout_seconds)
    if not results:
        return f"[{tool.name}: no result within {limits.timeout_seconds:g} seconds]"
    found = results[0]
    return (
        found if len(found) <= limits.max_output_characters else found[: limits.max_output_characters] + "…"
    )


def _said(tool: Tool, argument: str) -> str:
    try:
        return str(tool.run(argument))
    except ToolFailed as error:
        return f"[{tool.name}: {error}]"
    except Exception as error:  # somebody else's code; its failure is part of the answer
        return f"[{tool.name}: failed, {type(error).__name__}: {error}]"
