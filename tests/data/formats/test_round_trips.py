"""What a format says it loses nothing of comes back as it was; and what it cannot hold it says."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.example import Example
from luthier.data.formats import FORMATS, read_example, recognise
from luthier.errors import DataError
from tests.data.formats.examples import (
    EXAMPLES,
    chats,
    classifications,
    content,
    extractions,
    feedbacks,
    preferences,
    retrievals,
    texts,
)

_PAIRS = (("How wide?", "68 m."), ("In Paris", '{"city": "Paris"}'), ("Which?\n\nA. x\nB. y", "B"))
_KINDS: dict[str, Any] = {
    "chat": chats(),
    "text": texts(),
    "preference": preferences(),
    "feedback": feedbacks(),
    "classification": classifications(),
    "extraction": extractions(),
    "retrieval": retrievals(),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_loses_nothing_comes_back(name: str, data: st.DataObject) -> None:
    one = FORMATS[name]
    example = data.draw(st.one_of(EXAMPLES, *(_KINDS[kind] for kind in sorted(one.kinds))))
    losses = one.loses(example)
    try:
        row = one.write(example)
    except DataError:
        return
    row = json.loads(json.dumps(row))
    back = one.read(row)
    if not losses:
        assert content(back) == content(example)
        assert one.fits(row)
        assert recognise(row) is not None
    else:
        assert all(isinstance(what, str) and what for what in losses)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_was_written_is_written_the_same_again(name: str, data: st.DataObject) -> None:
    """Whatever was lost the first time: reading what was written and writing it again changes nothing."""
    one = FORMATS[name]
    try:
        row = one.write(data.draw(EXAMPLES))
        back = one.read(row)
    except DataError:
        return
    assert one.write(back) == row
    assert not one.loses(back)


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, one in FORMATS.items() for k in sorted(one.kinds)])
def test_every_kind_that_is_promised_is_held_without_loss(name: str, kind: str) -> None:
    """Among the examples of a kind that a format says it can hold there are some of which it loses nothing."""
    one = FORMATS[name]
    rows = {
        "chat": [
            {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}
            for asked, answered in (
                ("How wide?", "68 m."),
                ("In Paris", '{"city": "Paris"}'),
                ("W?\n\nA. x\nB. y", "B"),
            )
        ],
        "text": [{"text": "A plain document."}],
        "preference": [{"prompt": "a?", "chosen": "b", "rejected": "c"}],
        "feedback": [{"prompt": "a?", "completion": "b", "label": True}],
        "classification": [{"text": "a", "label": "b"}],
        "extraction": [{"text": "In Paris", "json": {"city": "Paris"}}],
        "retrieval": [{"context": "a", "question": "b?", "answer": "c"}],
    }[kind]
    examples = [read_example(row, where="x")[1] for row in rows]
    held = [example for example in examples if not _losses(name, example)]
    lossy_by_nature = kind in ("preference", "feedback") and name not in (
        *("preference", "preference-text", "preference-messages", "sharegpt-preference", "kto"),
    )
    assert bool(held) != lossy_by_nature
    assert all(one.write(example) for example in held)


def _losses(name: str, example: Example) -> list[str]:
    return FORMATS[name].loses(example)
