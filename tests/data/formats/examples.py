"""Examples of every kind for property tests, and what it means that two say the same."""

import json
from typing import Any

from hypothesis import strategies as st

from luthier.chat.messages import Conversation, Message, ToolCall
from luthier.data.example import Example

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
WORDS = st.text("abcdeXYZ é", min_size=1, max_size=8).filter(lambda text: text == text.strip())
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)
EXTRAS = st.dictionaries(st.sampled_from(["id", "tags", "source"]), VALUES, max_size=2)
CALLS = st.builds(ToolCall, st.sampled_from(["f", "look_up"]), OBJECTS, st.none() | st.just("call-1"))
TOOLS = st.lists(st.builds(lambda name, more: {"name": name, "parameters": more}, TEXTS, OBJECTS), max_size=2)
SYSTEMS = st.none() | st.builds(Message, st.just("system"), st.text(max_size=5))
ASSISTANTS = st.builds(
    Message,
    st.just("assistant"),
    TEXTS,
    reasoning=st.none() | TEXTS,
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    weight=st.sampled_from([None, None, 0.0, 0.5, 1.0]),
)
PLAIN_ANSWERS = st.builds(Message, st.just("assistant"), TEXTS)
TURNS = st.one_of(
    st.builds(Message, st.just("user"), TEXTS, name=st.none() | st.just("Ann")),
    PLAIN_ANSWERS,
    ASSISTANTS,
    st.builds(Message, st.just("tool"), TEXTS, tool_call_id=st.none() | st.just("call-1")),
)
PLAIN_TURNS = st.one_of(st.builds(Message, st.just("user"), TEXTS), PLAIN_ANSWERS)


def _conversation(system: Message | None, *turns: Any, tools: Any = ()) -> Conversation:
    flat = [one for turn in turns for one in (turn if isinstance(turn, list) else [turn])]
    return Conversation((*([] if system is None else [system]), *flat), tuple(tools))


@st.composite
def chats(draw: Any, turns: Any = TURNS) -> Example:
    """Conversations with everything; often a plain question and its answer, which every format holds."""
    plain = draw(st.booleans())
    middle = [] if plain else draw(st.lists(turns, max_size=4))
    answer = draw(PLAIN_ANSWERS if plain else st.one_of(ASSISTANTS, turns))
    system, tools = draw(SYSTEMS), () if plain else draw(st.just(()) | TOOLS)
    user = Message("user", draw(TEXTS))
    return Example("chat", _conversation(system, user, middle, answer, tools=tools), extra=draw(EXTRAS))


@st.composite
def texts(draw: Any) -> Example:
    return Example("text", text=draw(TEXTS), extra=draw(EXTRAS))


@st.composite
def preferences(draw: Any) -> Example:
    plain = draw(st.booleans())
    before = [] if plain else draw(st.lists(TURNS, max_size=2))
    answers = [PLAIN_ANSWERS if plain else ASSISTANTS] * 2
    sides = [(draw(one), *(() if plain else draw(st.lists(TURNS, max_size=1)))) for one in answers]
    tools = () if plain else draw(st.just(()) | TOOLS)
    asked = _conversation(draw(SYSTEMS), before, Message("user", draw(TEXTS)), tools=tools)
    return Example("preference", asked, chosen=sides[0], rejected=sides[1], extra=draw(EXTRAS))


@st.composite
def feedbacks(draw: Any) -> Example:
    asked = draw(chats().filter(lambda one: one.answer is not None))
    return Example("feedback", asked.conversation, desirable=draw(st.booleans()), extra=asked.extra)


def _asked(system: Message | None, text: str, answer: str) -> Conversation:
    return _conversation(system, Message("user", text), Message("assistant", answer))


@st.composite
def classifications(draw: Any) -> Example:
    text, label = draw(TEXTS), draw(TEXTS)
    return Example(
        "classification", _asked(draw(SYSTEMS), text, label), text=text, label=label, extra=draw(EXTRAS)
    )


@st.composite
def extractions(draw: Any) -> Example:
    """Free objects, and entities that stand in the text."""
    if draw(st.booleans()):
        text, found = draw(TEXTS), draw(OBJECTS)
    else:
        words = draw(st.lists(WORDS, min_size=1, max_size=6))
        text = " ".join(words)
        named = draw(st.lists(st.sampled_from(["city", "date"]), max_size=len(words)))
        found = {}
        for entity, word in zip(named, words, strict=False):
            found[entity] = word if entity not in found else [*_list(found[entity]), word]
    answer = json.dumps(found, ensure_ascii=draw(st.booleans()))
    return Example("extraction", _asked(draw(SYSTEMS), text, answer), text=text, extra=draw(EXTRAS))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@st.composite
def retrievals(draw: Any) -> Example:
    context, question = draw(TEXTS), draw(TEXTS)
    conversation = _asked(draw(SYSTEMS), f"{context}\n\n{question}", draw(TEXTS))
    return Example("retrieval", conversation, context=context, question=question, extra=draw(EXTRAS))


EXAMPLES = st.one_of(
    chats(), texts(), preferences(), feedbacks(), classifications(), extractions(), retrievals()
)


def content(example: Example) -> Any:
    """What a row says to a model, and its other fields: weights of 1 and none are the same."""
    sides = (example.conversation.messages, example.chosen, example.rejected)
    turns = [
        [(m.role, m.content, m.reasoning, m.tool_calls, m.token_weight, m.name, m.tool_call_id) for m in side]
        for side in sides
    ]
    if example.kind != "preference":  # chosen or answered: a format without the rejected one says either
        turns = [[*turns[0], *turns[1]], turns[2]]
    return turns, example.conversation.tools, example.images, example.desirable, dict(example.extra)
