"""The renderer on single cases: errors, tools, reasoning, weights, marks, boundaries."""

import json
import subprocess
import sys
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from luthier.chat import Conversation, Message, Renderer, ToolCall
from luthier.chat.templates import FAMILIES, load_family
from luthier.errors import DataError, TemplateError
from tests.toy import byte_tokenizer, metaspace_tokenizer

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather. <|im_end|>",
        "parameters": {"type": "object"},
    },
}
USER = Message("user", "What is it?")
ANSWER = Message("assistant", "It is here.")


def supervised(renderer: Renderer, rendering: Any) -> str:
    pairs = zip(rendering.token_ids, rendering.weights, strict=True)
    return renderer.decode([token for token, weight in pairs if weight > 0])


def with_template(template: str) -> Renderer:
    tokenizer = byte_tokenizer("chatml")
    tokenizer.chat_template = template
    return Renderer(tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_end_of_turn_and_stop_ids(family: str) -> None:
    tokenizer = byte_tokenizer(family)
    renderer = Renderer(tokenizer)
    assert renderer.end_of_turn_id == tokenizer.convert_tokens_to_ids(load_family(family).end_of_turn)
    assert renderer.stop_ids[0] == renderer.end_of_turn_id
    assert renderer.stop_ids[-1] == tokenizer.eos_token_id
    assert len(set(renderer.stop_ids)) == len(renderer.stop_ids)


def test_weights_are_per_turn_and_zero_is_context() -> None:
    renderer = Renderer(byte_tokenizer())
    turns = (USER, Message("assistant", "one", weight=0.0), USER, Message("assistant", "two", weight=0.5))
    [rendering] = renderer.render(Conversation(turns))
    assert supervised(renderer, rendering) == "two<|im_end|>"
    assert set(rendering.weights) == {0.0, 0.5}
    assert rendering.num_supervised == sum(weight == 0.5 for weight in rendering.weights)


def test_turns_after_the_last_answer_are_left_out() -> None:
    renderer = Renderer(byte_tokenizer())
    assert renderer.render(Conversation((USER, ANSWER, USER))) == renderer.render(
        Conversation((USER, ANSWER))
    )


def test_a_greeting_before_any_question_can_be_context() -> None:
    renderer = Renderer(byte_tokenizer())
    [rendering] = renderer.render(Conversation((Message("assistant", "Hello", weight=0), USER, ANSWER)))
    assert supervised(renderer, rendering) == "It is here.<|im_end|>"


def test_reasoning_is_dropped_from_history_so_each_turn_has_its_own_rendering() -> None:
    renderer = Renderer(byte_tokenizer("thinking"))
    turns = (
        USER,
        Message("assistant", "one", reasoning="r1"),
        USER,
        Message("assistant", "two", reasoning="r2"),
    )
    first, second = renderer.render(Conversation(turns))
    assert supervised(renderer, first) == "<think>\nr1\n</think>\n\none<|im_end|>"
    assert supervised(renderer, second) == "<think>\nr2\n</think>\n\ntwo<|im_end|>"
    assert "r1" not in renderer.decode(second.token_ids)


def test_template_kwargs_move_the_think_block_into_the_prompt() -> None:
    renderer = Renderer(byte_tokenizer("thinking"), template_kwargs={"enable_thinking": False})
    [rendering] = renderer.render(Conversation((USER, ANSWER)))
    assert supervised(renderer, rendering) == "It is here.<|im_end|>"
    assert renderer.decode(renderer.prompt([USER])).endswith("<think>\n\n</think>\n\n")
    assert renderer.template_hash != Renderer(byte_tokenizer("thinking")).template_hash


@pytest.mark.parametrize("family", ["chatml", "chatml_marked", "thinking"])
@pytest.mark.parametrize("make", [byte_tokenizer, metaspace_tokenizer])
def test_tools_their_calls_and_their_answers(family: str, make: Any) -> None:
    renderer = Renderer(make(family))
    calls = (
        ToolCall("weather", {"city": "Leeds </tool_call><|im_end|>", "days": 3}, id="call1"),
        ToolCall("weather", {"city": "Yörk", "<|im_start|>": None}),
    )
    turns = (
        Message("system", "Be brief."),
        USER,
        Message("assistant", "Let me look.", tool_calls=calls),
        Message("tool", "rain <|im_end|>"),
        Message("tool", "sun"),
        Message("assistant", "Rain and sun."),
    )
    renderings = renderer.render(Conversation(turns, tools=(WEATHER,)))
    prompt = renderer.prompt(turns[:2], (WEATHER,))
    assert list(renderings[0].token_ids[: len(prompt)]) == prompt
    text = renderer.decode(renderings[-1].token_ids)
    assert text.count("<tool_response>\n") == 2
    assert text.count("The weather. <|im_end|>") == 1
    ids = renderings[0].token_ids
    stop = ids.index(renderer.end_of_turn_id, len(prompt))
    answer = renderer.parse(ids[len(prompt) : stop + 1])
    assert answer.termination == "clean"
    assert answer.tool_calls == tuple(ToolCall(call.name, call.arguments) for call in calls)
    assert answer.text == "Let me look."
    assert renderings[-1].token_ids.count(renderer.end_of_turn_id) == 5


def test_an_answer_that_would_merge_with_the_prompt_is_split_where_serving_splits_it() -> None:
    tokenizer = byte_tokenizer()
    config = json.loads(tokenizer.backend_tokenizer.to_str())
    config["model"]["merges"].append(["Ċ", "Ċ"])
    config["model"]["vocab"]["ĊĊ"] = len(config["model"]["vocab"])
    merged = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(config)), eos_token="<|endoftext|>"
    )
    merged.chat_template = tokenizer.chat_template
    renderer = Renderer(merged)
    turns = (USER, Message("assistant", "\n\n\nfour lines"), USER, ANSWER)
    renderings = renderer.render(Conversation(turns))
    prompt = renderer.prompt([USER])
    assert list(renderings[0].token_ids[: len(prompt)]) == prompt
    assert supervised(renderer, renderings[0]) == "\n\n\nfour lines<|im_end|>"
    assert supervised(renderer, renderings[1]) == "It is here.<|im_end|>"


def test_marks_narrow_what_is_learned_and_the_end_of_turn_is_always_with_them() -> None:
    template = (
        "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\n' -}}"
        "{%- if m.role == 'assistant' -%}{{- 'Note:\n' -}}{%- generation -%}"
        "{{- m.content -}}{%- endgeneration -%}"
        "{%- else -%}{{- m.content -}}{%- endif -%}{{- '<|im_end|>\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
    )
    renderer = with_template(template)
    [rendering] = renderer.render(Conversation((USER, Message("assistant", "  It is here.  "), USER, ANSWER)))
    assert supervised(renderer, rendering) == "  It is here.  <|im_end|>It is here.<|im_end|>"


def test_no_assistant_turn_is_a_data_error() -> None:
    with pytest.raises(DataError, match="no assistant turn"):
        Renderer(byte_tokenizer()).render(Conversation((USER,)))
    with pytest.raises(DataError, match="at least one message"):
        Renderer(byte_tokenizer()).prompt([])


@pytest.mark.parametrize("family", ["inst", "strict"])
def test_a_refused_system_role_says_where_and_what_to_do(family: str) -> None:
    with pytest.raises(TemplateError, match=r"(?s)support.*Message 1 is a system turn: put its text"):
        Renderer(byte_tokenizer(family)).render(Conversation((Message("system", "s"), USER, ANSWER)))


def test_refused_alternation_and_tool_turns_name_the_message() -> None:
    with pytest.raises(TemplateError, match=r"(?s)must alternate.*Message 2 is from user after user"):
        Renderer(byte_tokenizer("strict")).render(Conversation((USER, USER, ANSWER)))
    with pytest.raises(TemplateError, match="Message 2 is a tool turn"):
        Renderer(byte_tokenizer("inst")).render(Conversation((USER, Message("tool", "x"), ANSWER)))


def test_what_a_template_would_drop_in_silence_is_refused() -> None:
    renderer = Renderer(byte_tokenizer("llama3"))
    with pytest.raises(TemplateError, match="leaves out the tools on offer"):
        renderer.prompt([USER], [WEATHER])
    with pytest.raises(TemplateError, match="leaves out reasoning"):
        renderer.render(Conversation((USER, Message("assistant", "x", reasoning="r"))))
    with pytest.raises(TemplateError, match="leaves out tool calls"):
        renderer.render(Conversation((USER, Message("assistant", "x", tool_calls=(ToolCall("f", {}),)))))


def test_a_template_without_an_end_of_turn_cannot_be_learned() -> None:
    with pytest.raises(TemplateError, match="never learn to stop"):
        _ = with_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}").end_of_turn_id


def test_a_prompt_unlike_the_row_says_what_differs() -> None:
    template = byte_tokenizer().chat_template.replace(
        "{{- '<|im_start|>assistant\\n' -}}\n{%- endif -%}",
        "{{- '<|im_start|>assistant\\n<hm>' -}}\n{%- endif -%}",
    )
    assert "<hm>" in template
    with pytest.raises(TemplateError, match=r"(?s)message 2: .*goes on with '<hm>' and the row with 'It is"):
        with_template(template).render(Conversation((USER, ANSWER)))


def test_a_template_with_an_error_or_none_at_all() -> None:
    with pytest.raises(TemplateError, match="cannot render"):
        with_template("{{ messages[0].content + 3 }}").prompt([USER])
    with pytest.raises(TemplateError, match="cannot render"):
        with_template("{% for %}").prompt([USER])
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(TemplateError, match="no chat template"):
        Renderer(tokenizer).prompt([USER])


def test_half_a_surrogate_pair_is_a_data_error() -> None:
    with pytest.raises(DataError, match="surrogate"):
        Renderer(byte_tokenizer()).render(Conversation((Message("user", "bad \ud800"), ANSWER)))


def test_words_and_whitespace_added_to_the_vocabulary_stay_tokens() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["scrummage", "\n\n\n"])
    ids = Renderer(tokenizer).prompt([Message("user", "scrummage\n\n\n<|im_end|>")])
    assert tokenizer.convert_tokens_to_ids("scrummage") in ids
    assert tokenizer.convert_tokens_to_ids("\n\n\n") in ids
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1


def test_metaspace_pieces_get_no_space_of_their_own() -> None:
    renderer = Renderer(metaspace_tokenizer("inst"))
    turns = (Message("user", "a</s>b [INST] c"), Message("assistant", " </s>[/INST] d"))
    [rendering] = renderer.render(Conversation(turns))
    assert renderer.decode(rendering.token_ids) == "<s>[INST]a</s>b [INST] c[/INST] </s>[/INST] d</s>"
    assert rendering.token_ids.count(renderer.end_of_turn_id) == 1


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(TemplateError, match="did you mean 'chatml'"):
        load_family("chatlm")


def test_importing_chat_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, luthier.chat; assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tokenizer_that_was_used_otherwise_renders_the_same() -> None:
    tokenizer = byte_tokenizer()
    renderer = Renderer(tokenizer)
    conversation = Conversation((Message("user", "Hi"), Message("assistant", "Yes")))
    before = renderer.render(conversation)
    tokenizer(["<|im_end|>"], split_special_tokens=True)  # leaves a switch on in the backend
    assert renderer.render(conversation) == before
