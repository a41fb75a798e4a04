"""Every word for how an answer ends, and markup as tokens and as plain text."""

from typing import Any

import pytest

from luthier.chat import Renderer, Termination, ToolCall
from tests.toy import byte_tokenizer


def parse(family: str, text: str, **kwargs: Any) -> Any:
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, **kwargs).parse(tokenizer.encode(text, add_special_tokens=False))


CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize("family", ["chatml", "thinking"])
@pytest.mark.parametrize(
    ("text", "termination"),
    [
        ("Yes.<|im_end|>", "clean"),
        ("<|im_end|>", "clean"),
        ("Yes.<|im_end|><|endoftext|><|endoftext|>", "clean"),
        ("Yes.<|endoftext|>", "eos"),
        ("Yes", "length"),
        ("", "length"),
        ("<think>\nwell", "length"),
        ('<tool_call>\n{"name"', "length"),
        ("Yes.<|im_start|>user<|im_end|>", "malformed"),
        ("Yes.<|im_start|>user", "malformed"),
        ("<think>\nwell<|im_end|>", "malformed"),
        ("a</tool_call><|im_end|>", "malformed"),
        ("<tool_call>\n{<|im_end|>", "malformed"),
        ("<tool_call>\n{nope}\n</tool_call><|im_end|>", "malformed"),
        ('<tool_call>\n{"arguments": {}}\n</tool_call><|im_end|>', "malformed"),
        ('<tool_call>\n{"name": "f", "arguments": "x"}\n</tool_call><|im_end|>', "malformed"),
    ],
)
def test_termination(family: str, text: str, termination: str) -> None:
    assert parse(family, text).termination is Termination(termination)


@pytest.mark.parametrize("family", ["chatml", "thinking"])
def test_parts(family: str) -> None:
    answer = parse(family, f"<think>\nHm.\n</think>\n\nLet me see.\n{CALL}\n{CALL}<|im_end|>")
    assert answer.reasoning == "Hm."
    assert answer.text == "Let me see."
    assert answer.tool_calls == (ToolCall("f", {"x": 1}),) * 2
    assert answer.termination is Termination.CLEAN


def test_an_empty_think_block_is_no_reasoning() -> None:
    assert parse("thinking", "<think>\n\n</think>\n\nYes.<|im_end|>").reasoning is None


def test_cut_reasoning_is_kept_as_reasoning() -> None:
    answer = parse("thinking", "<think>\nwell, then")
    assert (answer.reasoning, answer.text) == ("well, then", "")


def test_a_prompt_that_opens_the_think_block() -> None:
    tokenizer = byte_tokenizer("thinking")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "'<think>\\n\\n</think>\\n\\n' -}}\n    {%- endif", "'<think>\\n' -}}\n    {%- endif"
    )
    renderer = Renderer(tokenizer, template_kwargs={"enable_thinking": False})
    answer = renderer.parse(tokenizer.encode("Hm.\n</think>\n\nYes.<|im_end|>", add_special_tokens=False))
    assert (answer.reasoning, answer.text, answer.termination) == ("Hm.", "Yes.", Termination.CLEAN)


def test_ids_are_kept_through_the_stop() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode("Yes.<|im_end|><|endoftext|>", add_special_tokens=False)
    assert Renderer(tokenizer).parse(ids).token_ids == tuple(ids[:-1])


def test_a_closing_string_inside_the_json_of_a_call_is_text() -> None:
    answer = parse(
        "chatml", '<tool_call>\n{"name": "f", "arguments": {"x": "</tool_call>"}}\n</tool_call><|im_end|>'
    )
    assert answer.tool_calls == (ToolCall("f", {"x": "</tool_call>"}),)
    assert answer.termination is Termination.CLEAN
