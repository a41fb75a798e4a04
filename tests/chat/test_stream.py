"""A streamed answer, put together, is the parsed one; nothing is shown that a later token takes back."""

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.chat import Renderer
from luthier.chat.stream import StopTexts
from tests.toy import byte_tokenizer, metaspace_tokenizer

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
RENDERERS = {
    "bytes": Renderer(byte_tokenizer("chatml")),  # marks are text
    "thinking": Renderer(byte_tokenizer("thinking")),  # marks are tokens
    "metaspace": Renderer(metaspace_tokenizer("inst")),
    "metaspace thinking": Renderer(metaspace_tokenizer("thinking")),
}
pieces = st.sampled_from(
    ["\n", "\n\n", "<think>", "</think>", "<tool_call>", "</tool_call>", CALL, "é", "日本", "🙂", "<", "<thi"]
)
texts = st.lists(pieces | st.text(max_size=4), max_size=12).map("".join)


def streamed(renderer: Renderer, ids: list[int], stops: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
    stream = renderer.stream(stops)
    parts = [stream.take(token) for token in ids]
    parts.append(stream.close())
    shown = [part.text for part in parts]
    calls = tuple(call for part in parts for call in part.tool_calls)
    return ("".join(shown), "".join(part.reasoning for part in parts) or None, calls), shown


def parsed(renderer: Renderer, ids: list[int]) -> tuple[Any, ...]:
    answer = renderer.parse(ids)
    return answer.text, answer.reasoning, answer.tool_calls


@pytest.mark.parametrize("name", RENDERERS)
@given(texts)
@example(f"<think>\nHm.\n</think>\n\nLet me see.\n{CALL}\n{CALL}\n")
@example("a\n\n" + CALL + CALL)
@example("<think>a\n</think><think>\n\nb</think>\n")
@example(f"x\n<think>y</think>{CALL}\n\nz")
@example("<tool_call>\n{")
def test_put_together_it_is_the_parsed_answer(name: str, text: str) -> None:
    renderer = RENDERERS[name]
    ids = renderer.tokenizer.encode(text, add_special_tokens=False)
    assert streamed(renderer, ids)[0] == parsed(renderer, ids)


@pytest.mark.parametrize("name", RENDERERS)
@settings(max_examples=60)
@given(st.data())
def test_tokens_in_any_order_and_bytes_that_are_no_text(name: str, data: st.DataObject) -> None:
    renderer = RENDERERS[name]
    ids = data.draw(st.lists(st.integers(0, len(renderer.tokenizer) - 1), max_size=40))
    stops = set(renderer.stop_ids)
    ids = [token for token in ids if token not in stops]
    assert streamed(renderer, ids)[0] == parsed(renderer, ids)


def test_a_character_of_several_tokens_is_shown_once_it_is_whole() -> None:
    renderer = RENDERERS["bytes"]
    ids = renderer.tokenizer.encode("a🙂b", add_special_tokens=False)
    assert len(ids) > 4
    assert [text for text in streamed(renderer, ids)[1] if text] == ["a", "🙂", "b"]


@given(st.text("ab<>", max_size=30), st.lists(st.text("ab<>", min_size=1, max_size=4), max_size=3))
def test_a_stop_text_ends_the_answer_wherever_it_is_cut(text: str, stops: list[str]) -> None:
    for width in (1, 2, 5):
        finder = StopTexts(stops)
        shown = "".join(finder.take(text[i : i + width]) for i in range(0, len(text), width)) + finder.close()
        assert shown == _first_end(text, stops)
        assert finder.found == any(stop in text for stop in stops)


def _first_end(text: str, stops: list[str]) -> str:
    """The text before the stop text that is whole first, read one character at a time."""
    for end in range(len(text) + 1):
        found = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: min(found)]
    return text


def test_stop_texts_across_tokens_are_never_shown() -> None:
    renderer = RENDERERS["thinking"]
    ids = renderer.tokenizer.encode("One.\nObservation: two", add_special_tokens=False)
    (text, _, _), shown = streamed(renderer, ids, ("\nObservation:",))
    assert text == "One." and not any("O" in part for part in shown[1:])


def test_a_token_costs_the_same_late_in_an_answer() -> None:
    renderer = RENDERERS["bytes"]
    bad = renderer.tokenizer.convert_tokens_to_ids("ÿ")  # the byte 0xFF, which begins no character
    calls = 0
    stream = renderer.stream()
    decode = stream._text._decode

    def counted(ids: list[int]) -> str:
        nonlocal calls
        calls += len(ids)
        return decode(ids)

    stream._text._decode = counted
    started = time.perf_counter()
    for _ in range(2000):
        stream.take(bad)
    assert calls < 2000 * 60, "a token decoded the whole answer again"
    assert time.perf_counter() - started < 20
