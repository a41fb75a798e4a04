"""Pictures: as many as marks, wherever they are named."""

from typing import Any

import pytest

from luthier.data.formats import FORMATS, read_example
from luthier.errors import DataError

_ANSWER = {"role": "assistant", "content": "A cat."}


def _row(content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}, _ANSWER], **fields}


@pytest.mark.parametrize(
    "row",
    [
        _row("<image>What?", images=["a.png"]),
        _row("<image>What?", images='["a.png"]'),
        _row("<image>What?", image="a.png"),
        _row("<image>What?", images=[{"path": "a.png", "bytes": None}]),
        _row([{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]),
        _row([{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "What?"}]),
        _row([{"type": "image"}, {"type": "text", "text": "What?"}], images=["a.png"]),
        {
            "conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A cat."}],
            "image": "a.png",
        },
    ],
)
def test_every_way_to_name_a_picture(row: dict[str, Any]) -> None:
    _, example = read_example(row, where="f:1")
    assert (
        example.images == ("a.png",) and example.messages[0].content == "<image>What?" and not example.extra
    )
    for name in ("messages", "sharegpt"):
        assert not FORMATS[name].loses(example)
        back = FORMATS[name].read(FORMATS[name].write(example))
        assert (back.images, back.messages) == (example.images, example.messages)
    assert FORMATS["prompt/completion"].loses(example) == ["images"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_row("<image>What?", images=[]), "0 images for 1 <image> marks"),
        (_row("What?", images=["a.png"]), "1 images for 0 <image> marks"),
        (_row("<image>", images=[3]), "field 'images', image 1: expected a path or URL, got 3"),
        (_row([{"type": "image", "image": "a.png"}], images=["a.png"]), "name their images themselves"),
        (_row([{"type": "image", "image": {"bytes": "..."}}]), "an image part: expected a path or URL"),
    ],
)
def test_pictures_that_do_not_match(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_example(row, where="f:1")


def test_a_text_about_the_mark_needs_no_picture() -> None:
    assert read_example(_row("What does <image> mean in SVG?"), where="f:1")[1].images == ()
