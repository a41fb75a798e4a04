"""What must hold for every template family, tokenizer kind and conversation."""

import string
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.chat import Conversation, Message, Renderer, Termination
from luthier.chat.templates import FAMILIES
from tests.toy import byte_tokenizer, metaspace_tokenizer

KINDS = {"byte": byte_tokenizer, "metaspace": metaspace_tokenizer}
ALL = [(kind, family) for kind in KINDS for family in FAMILIES]
TRIMMING = {"llama3", "fold"}
WITHOUT_SYSTEM = {"inst", "strict"}
CONTROL = sorted({token for family in FAMILIES.values() for token in family.control_tokens} | {"<unk>"})
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"]

words = st.text(st.characters(codec="utf-8"), max_size=40)
benign = words.filter(lambda text: not any(token in text for token in (*CONTROL, *MARKUP)))
plain = st.text(string.ascii_letters + " .,?", min_size=1, max_size=40)
fragments = st.sampled_from([*CONTROL, "\n", " ", "  ", "<|", "|>", "\ue000", "\U000f0001", "é👩‍🚀", ""])
quoting = st.lists(st.one_of(words, fragments), max_size=5).map("".join)
unmarked = quoting.filter(lambda text: not any(mark in text for mark in MARKUP))
quoting_markup = st.lists(st.one_of(words, fragments, st.sampled_from(MARKUP)), max_size=5).map("".join)
very_long = st.tuples(plain, st.integers(200, 400)).map(lambda pair: pair[0] * pair[1])


@lru_cache
def renderer_for(kind: str, family: str) -> tuple[Any, Renderer]:
    tokenizer = KINDS[kind](family)
    return tokenizer, Renderer(tokenizer)


@st.composite
def conversations(draw: Any, family: str, asked: Any, answered: Any) -> Conversation:
    messages = []
    if family not in WITHOUT_SYSTEM and draw(st.booleans()):
        messages.append(Message("system", draw(asked)))
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(asked)))
        reasoning = draw(st.none() | asked) if family == "thinking" else None
        messages.append(Message("assistant", draw(answered), reasoning=reasoning))
    return Conversation(tuple(messages))


def said(family: str, message: Message, *, end: str) -> str:
    """What the template should have the model say, written independently of the template."""
    content = message.content
    if family in TRIMMING:
        content = content.strip()
    if family == "thinking":
        reasoning = (message.reasoning or "").strip("\n")
        content = f"<think>\n{reasoning}\n</think>\n\n" + content.lstrip("\n")
    return content + end


def runs(rendering: Any) -> list[list[int]]:
    """The supervised token ids, one list per stretch of them."""
    found: list[list[int]] = []
    before = 0.0
    for token, weight in zip(rendering.token_ids, rendering.weights, strict=True):
        if weight > 0:
            if before == 0:
                found.append([])
            found[-1].append(token)
        before = weight
    return found


def check_conversation(kind: str, family: str, conversation: Conversation) -> None:
    tokenizer, renderer = renderer_for(kind, family)
    answers = [i for i, message in enumerate(conversation.messages) if message.role == "assistant"]
    renderings = renderer.render(conversation)
    found = []
    for rendering in renderings:
        assert len(rendering.token_ids) == len(rendering.weights)
        bos = FAMILIES[family].bos
        if bos is not None:
            assert rendering.token_ids.count(tokenizer.convert_tokens_to_ids(bos)) == 1
            assert rendering.token_ids[0] == tokenizer.convert_tokens_to_ids(bos)
        found += [(rendering, run) for run in runs(rendering)]
    assert len(found) == len(answers)
    for (rendering, run), i in zip(found, answers, strict=True):
        message = conversation.messages[i]
        # exactly the words and the end of turn, and the served prompt before them
        assert renderer.decode(run) == said(family, message, end=FAMILIES[family].end_of_turn)
        assert run[-1] == renderer.end_of_turn_id
        prompt = tuple(renderer.prompt(conversation.messages[:i]))
        assert rendering.token_ids[: len(prompt)] == prompt
        assert rendering.token_ids[len(prompt) : len(prompt) + len(run)] == tuple(run)
    # no control token beyond those of the same turns with neutral words
    neutral = Conversation(
        tuple(Message(m.role, "x", reasoning="x" if m.reasoning else None) for m in conversation.messages)
    )
    for rendering, plain_rendering in zip(renderings, renderer.render(neutral), strict=False):
        if len(renderings) == 1:
            assert control_ids(tokenizer, rendering) == control_ids(tokenizer, plain_rendering)


def control_ids(tokenizer: Any, rendering: Any) -> list[int]:
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return [i for i in rendering.token_ids if i in special and i != tokenizer.unk_token_id]


@pytest.mark.parametrize(("kind", "family"), ALL)
def test_any_conversation(kind: str, family: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(conversations(family, quoting_markup, unmarked))
    def check(conversation: Conversation) -> None:
        check_conversation(kind, family, conversation)

    check()


@pytest.mark.parametrize(("kind", "family"), ALL)
def test_very_long_turns(kind: str, family: str) -> None:
    @settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(conversations(family, very_long, very_long))
    def check(conversation: Conversation) -> None:
        check_conversation(kind, family, conversation)

    check()


@pytest.mark.parametrize(("kind", "family"), ALL)
def test_benign_ids_are_those_of_transformers(kind: str, family: str) -> None:
    tokenizer, renderer = renderer_for(kind, family)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(conversations(family, benign, plain.map(str.lstrip)))
    def check(conversation: Conversation) -> None:
        dicts = [message.to_dict() for message in conversation.messages]
        for k, rendering in enumerate(renderings := renderer.render(conversation)):
            answers = [i for i, message in enumerate(conversation.messages) if message.role == "assistant"]
            through = len(dicts) if len(renderings) == 1 else answers[k] + 1
            expected = tokenizer.apply_chat_template(dicts[:through], tokenize=True, return_dict=False)
            assert list(rendering.token_ids) == expected
        served = tokenizer.apply_chat_template(
            dicts[:-1], tokenize=True, return_dict=False, add_generation_prompt=True
        )
        assert renderer.prompt(conversation.messages[:-1]) == served

    check()


@pytest.mark.parametrize(("kind", "family"), ALL)
def test_parse_gives_the_answer_back(kind: str, family: str) -> None:
    _, renderer = renderer_for(kind, family)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(unmarked, st.none() | quoting_markup)
    def check(content: str, reasoning: str | None) -> None:
        if family != "thinking":
            reasoning = None
        question = Message("user", "What is it?")
        message = Message("assistant", content, reasoning=reasoning)
        [rendering] = renderer.render(Conversation((question, message)))
        ids = rendering.token_ids[len(renderer.prompt([question])) :]
        answer = renderer.parse(ids)
        assert answer.termination is Termination.CLEAN
        expected = content.strip() if family in TRIMMING else content
        assert answer.text == (expected.lstrip("\n") if family == "thinking" else expected)
        assert answer.reasoning == ((reasoning or "").strip("\n") or None)
        assert not answer.tool_calls

    check()
