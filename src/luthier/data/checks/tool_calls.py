"""Calls of tools against the tools on offer: is there such a tool, and does it take these arguments?

Rows that offer no tools are passed over: nothing says what could be called. Knows nothing of what tools do.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from luthier.chat.messages import ToolCall
from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, rows_word
from luthier.data.checks.row import CheckedRow

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


class ToolCalls(Check):
    """Calls of a tool that is not on offer, without an argument that it needs, or with one that it does not take."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.num_calls = 0

    def see(self, row: CheckedRow) -> None:
        calls = [call for message in row.messages if message.tool_calls for call in message.tool_calls]
        if not calls or row.example is None:
            return
        self.num_calls += len(calls)
        if not row.example.conversation.tools:
            return
        offered = dict(_signature(tool) for tool in row.example.conversation.tools)
        problem = next((one for call in calls for one in _problems(call, offered)), None)
        if problem is not None:
            self.tallies[row.split, "unlike"].add(row, problem)

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        self.num_calls += later.num_calls

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            if (tally := self.tallies.get((split, "unlike"))) is not None:
                yield tally.finding(
                    "tool_call_unlike_tools",
                    "warning",
                    split,
                    totals,
                    f"{tally.count:,} of {rows_word(totals.rows[split])} call a tool otherwise than it is offered: "
                    f"{tally.examples[0]}",
                    "A program would refuse the call. Correct the call, or the tool's description.",
                )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`tool_calls`: how many calls there are."""
        return {"tool_calls": self.num_calls} if self.num_calls else {}


def _signature(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """(name, JSON schema of the arguments) of a tool as OpenAI writes it, or without the wrapping."""
    function = tool.get("function", tool)
    function = function if isinstance(function, Mapping) else tool
    schema = function.get("parameters")
    return str(function.get("name")), schema if isinstance(schema, Mapping) else {}


def _problems(call: ToolCall, offered: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if call.name not in offered:
        yield f"{call.name} is not among the tools on offer ({', '.join(offered)})"
        return
    schema = offered[call.name]
    needed, properties = schema.get("required"), schema.get("properties")
    for name in needed if isinstance(needed, list | tuple) else ():
        if name not in call.arguments:
            yield f"{call.name} needs the argument {name}"
    if not isinstance(properties, Mapping) or not properties:
        return
    for name, value in call.arguments.items():
        if name not in properties:
            yield f"{call.name} takes no argument {name}"
        elif not _fits(value, properties[name]):
            yield f"{call.name}: the argument {name} is not of the type {properties[name]['type']}"


def _fits(value: Any, schema: Any) -> bool:
    expected = schema.get("type") if isinstance(schema, Mapping) else None
    types = _JSON_TYPES.get(expected) if isinstance(expected, str) else None
    if types is None:
        return True
    return isinstance(value, types) and (not isinstance(value, bool) or expected == "boolean")
