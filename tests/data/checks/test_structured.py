"""JSON answers and calls of tools: what no program could read, and what is unlike all others."""

import json
from typing import Any

from luthier.data.checks.structured import StructuredAnswers
from luthier.data.checks.tool_calls import ToolCalls
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find, run
from tests.data.shared import needs_shared


def asked(*answers: Any) -> list[dict[str, str]]:
    return [
        {"prompt": f"Extract {n}", "completion": one if isinstance(one, str) else json.dumps(one)}
        for n, one in enumerate(answers)
    ]


GOOD = [{"name": f"Field {n}", "width": 60 + n, "tags": ["rugby"]} for n in range(60)]


def test_objects_of_one_form_say_nothing() -> None:
    findings, figures = run(StructuredAnswers, asked(*GOOD, {"name": "x", "width": 1.5, "tags": None}))
    assert findings == []
    assert figures["json_answers"]["train"] == {"answers": 61, "json": 61, "invalid": 0, "object_forms": 2}


def test_answers_that_are_no_json_are_errors_with_the_reason() -> None:
    findings = find(StructuredAnswers, asked(*GOOD, '{"name": "x",}', "{'name': 'x'}"))
    assert [(one.name, one.severity, one.count) for one in findings] == [("invalid_json_answers", "error", 2)]
    assert [key.number for key in findings[0].rows] == [61, 62]
    assert "property name" in (findings[0].examples or ("",))[0]


def test_a_fence_around_json_is_no_error() -> None:
    assert find(StructuredAnswers, asked(*(f"```json\n{json.dumps(one)}\n```" for one in GOOD))) == []


def test_a_few_braces_among_prose_are_no_json() -> None:
    assert find(StructuredAnswers, asked(*["It is 68 m wide."] * 30, "{{name}} is here", "[INSERT]")) == []


def test_objects_unlike_nearly_all_others_are_named_with_the_difference() -> None:
    odd = [{"name": "x", "width": "60", "tags": []}, {"name": "x", "tags": []}, GOOD[0] | {"colour": "green"}]
    findings = find(StructuredAnswers, asked(*GOOD * 5, *odd))
    assert [(one.name, one.severity, one.count) for one in findings] == [("schema_differs", "warning", 3)]
    assert [key.number for key in findings[0].rows] == [301, 302, 303]
    for why in (
        "'width' is a text, not a number (1)",
        "key 'width' is missing (1)",
        "key 'colour' is strange (1)",
    ):
        assert why in findings[0].message


def test_objects_with_optional_keys_have_no_form_to_break() -> None:
    slots = [{key: "x" for at, key in enumerate("abcdef") if n >> at & 1} for n in range(1, 64)]
    assert find(StructuredAnswers, asked(*slots)) == []


def tool_row(name: str, arguments: dict[str, Any], tools: list[Any]) -> dict[str, Any]:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": arguments}]}
    return {"messages": [{"role": "user", "content": "Look it up."}, call], "tools": tools}


PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]


def test_calls_that_fit_their_tools_say_nothing() -> None:
    rows = [
        tool_row("weather", {"city": "Leeds", "days": 3}, TOOLS),
        tool_row("weather", {"city": "Leeds"}, [TOOLS[0]["function"]]),
        tool_row("anything", {}, []),
    ]
    assert run(ToolCalls, rows) == ([], {"tool_calls": 3})


def test_calls_that_a_program_would_refuse() -> None:
    rows = [
        tool_row("wether", {"city": "Leeds"}, TOOLS),
        tool_row("weather", {"days": 3}, TOOLS),
        tool_row("weather", {"city": "Leeds", "country": "UK"}, TOOLS),
        tool_row("weather", {"city": "Leeds", "days": "3"}, TOOLS),
        tool_row("weather", {"city": "Leeds", "days": True}, TOOLS),
    ]
    findings = find(ToolCalls, rows)
    assert [(one.name, one.severity, one.count) for one in findings] == [
        ("tool_call_unlike_tools", "warning", 5)
    ]
    for row, why in zip(
        rows,
        ("not among", "needs the argument city", "no argument country", "days is not", "days is not"),
        strict=True,
    ):
        assert why in find(ToolCalls, [row])[0].message


def test_pieces_add_up() -> None:
    odd = [{"name": "x", "width": "60", "tags": []}, "{broken", {"tags": []}]
    assert_merges(StructuredAnswers, {"train": asked(*GOOD, *odd, *GOOD), "valid": asked(*odd)})
    assert_merges(ToolCalls, [tool_row("weather", {"days": n}, TOOLS) for n in range(5)])


@needs_shared
def test_real_calls_and_objects() -> None:
    glaive = report_on("instruct/glaive_toolcall_en_demo.json", StructuredAnswers, ToolCalls)
    assert glaive.figures["tool_calls"] == 211
    assert names(glaive) == [("warning", "tool_call_unlike_tools", 1)]  # a list where a number is declared
    for path in ("extract/train_RateBook.json", "extract/wnut17train.conll", "wikisql/train.jsonl"):
        assert names(report_on(path, StructuredAnswers, ToolCalls)) == []
