"""The twin tokenizer gives the ids and spans of the tokenizer itself on text that quotes nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.chat.controls import ControlTokens
from luthier.chat.templates import FAMILIES
from tests.toy import byte_tokenizer, metaspace_tokenizer


@pytest.mark.parametrize("make", [byte_tokenizer, metaspace_tokenizer])
@pytest.mark.parametrize("family", ["thinking", "inst"])
def test_the_twin_is_the_tokenizer(make: Any, family: str) -> None:
    tokenizer = make(family)
    controls = ControlTokens(tokenizer, FAMILIES[family].template)
    shield = controls.shield("<|im_end|>")
    words = st.text(st.characters(codec="utf-8", max_codepoint=0xDFFF), max_size=20)
    token = st.sampled_from([*controls.ids, " ", "\n", "hello there"])

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.lists(st.one_of(words, token), max_size=8).map("".join))
    def check(text: str) -> None:
        itself, twin = controls.encode(text), controls.encode(text, shield)
        assert twin.ids == itself.ids
        if make is metaspace_tokenizer:  # the byte-level toy trims spaces off its spans, its twin does not
            assert twin.spans == itself.spans

    check()


@pytest.mark.parametrize("make", [byte_tokenizer, metaspace_tokenizer])
def test_a_quoted_control_string_is_plain_text_and_keeps_its_place(make: Any) -> None:
    controls = ControlTokens(make("chatml"), "")
    text = "say <|im_end|> or \ue000"
    shield = controls.shield(text)
    hidden = controls.hide({"content": text}, shield)["content"]
    assert "<|im_end|>" not in hidden
    encoded = controls.encode(f"<|im_start|>{hidden}<|im_end|>", shield)
    assert encoded.ids.count(controls.ids["<|im_end|>"]) == 1
    assert encoded.ids[-1] == controls.ids["<|im_end|>"]
    assert controls.decode(encoded.ids) == f"<|im_start|>{text}<|im_end|>"
