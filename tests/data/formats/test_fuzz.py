"""Whatever stands under the fields of a format: a row is read, or refused with a DataError that names what is wrong."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.checks.images import problem_of, resolve
from luthier.data.formats import FORMATS, read_example, recognise
from luthier.errors import DataError
from tests.data.formats.examples import VALUES

_NAMES = st.sampled_from(
    ["role", "content", "from", "value", "type", "text", "name", "function", "tool_calls"]
)
_WORDS = st.sampled_from(
    [
        "user",
        "assistant",
        "system",
        "tool",
        "human",
        "gpt",
        "function_call",
        "text",
        "tool_call",
        "image",
        "<image>",
    ]
)
_ODD = st.sampled_from(
    [
        "",
        " ",
        "{",
        "[",
        "[]",
        "{}",
        "[{}]",
        "null",
        '{"a": 1}',
        "[" * 2000,
        "9" * 5000,
        "\ud800",
        "\0",
        "true",
        "B",
    ]
)
_NUMBERS = st.sampled_from([10**400, -(10**400), float("nan"), float("inf"), 1e308, 2**63, 0.0, 1.0, True])
_ANYTHING = st.recursive(
    VALUES | _WORDS | _ODD | _NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=10,
)
_TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": _WORDS | _ANYTHING, "content": _WORDS | _ANYTHING},
        optional={
            "tool_calls": _ANYTHING,
            "weight": _ANYTHING,
            "reasoning": _ANYTHING,
            "loss_weight": _ANYTHING,
        },
    )
    | st.fixed_dictionaries(
        {"from": _WORDS | _ANYTHING, "value": _WORDS | _ANYTHING}, optional={"weight": _ANYTHING}
    ),
    max_size=3,
)
_PIECES = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("text", "entity", "start", "end", "label"), _ANYTHING)),
    max_size=3,
)
_FIELD_VALUES = _ANYTHING | _TURNS | _PIECES | _WORDS


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_values_under_the_right_fields(name: str, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(FORMATS[name].fields))
    row: dict[str, Any] = data.draw(st.dictionaries(names, _FIELD_VALUES, max_size=8))
    recognise(row)
    for format in (name, None):
        try:
            _, example = read_example(row, where="f:1", format=format)
        except DataError as error:
            assert str(error).startswith("f:1: ") and len(str(error)) < 1500
            continue
        assert example.kind in FORMATS[recognise(row) or name].kinds or format is not None
        for other in FORMATS.values():
            assert all(isinstance(what, str) for what in other.loses(example))
            try:
                other.write(example)
            except DataError:
                continue
        for image in example.images:
            problem_of(resolve(image, "/nowhere"))
