"""Rows of tokens: long rows follow the policy and are counted; documents are learnt token by token, once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.chat.messages import Conversation, Message
from luthier.chat.render import Renderer
from luthier.data.dataset import TokenDataset, chat_dataset, text_dataset
from luthier.data.rows import Row
from luthier.data.truncate import TooLong
from luthier.errors import DataError, TemplateError
from tests.toy import byte_tokenizer

_TOKENIZER = byte_tokenizer()
_RENDERER = Renderer(_TOKENIZER)


def _asked(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


def _dataset(max_length: int, too_long: TooLong) -> TokenDataset:
    rows = [("f:1", _asked("How wide?", "68 m.")), ("f:2", _asked("How long?", "122 metres " * 30))]
    return chat_dataset(rows, _RENDERER, max_length=max_length, too_long=too_long)


def test_a_row_is_what_the_renderer_says() -> None:
    dataset = _dataset(4096, "error")
    rendering = _RENDERER.render(_asked("How wide?", "68 m."))[0]
    token_ids, weights = dataset.row(0)
    assert tuple(token_ids) == rendering.token_ids and tuple(weights) == rendering.weights
    assert dataset.num_rows == 2 and list(dataset.places) == ["f:1", "f:2"]
    assert dataset.num_tokens == dataset.lengths().sum()
    assert dataset.num_supervised == np.count_nonzero(dataset.weights)


def test_over_long_rows_follow_the_policy() -> None:
    limit = len(_RENDERER.render(_asked("How long?", "122 metres " * 30))[0].token_ids) - 5
    with pytest.raises(DataError, match=rf"f:2: {limit + 5} tokens, but data.max_length is {limit}"):
        _dataset(limit, "error")
    dropped = _dataset(limit, "drop")
    assert (dropped.num_rows, dropped.num_dropped, dropped.num_truncated) == (1, 1, 0)
    cut = _dataset(limit, "head")
    assert (cut.num_rows, cut.num_dropped, cut.num_truncated) == (2, 0, 1)
    assert list(cut.lengths())[1] == limit
    assert cut.num_answers_cut == 1  # its end is gone


def test_a_cut_that_spares_the_answer_is_no_cut_answer() -> None:
    rows = [("f:1", _asked("How long? " * 60, "122 metres"))]
    for too_long in ("tail", "middle"):
        dataset = chat_dataset(rows, _RENDERER, max_length=40, too_long=too_long)
        assert dataset.too_long == {"dropped": 0, "truncated": 1, "answers_cut": 0, "slid": 0, "windows": 0}
        assert dataset.num_supervised == _RENDERER.render(rows[0][1])[0].num_supervised


def test_windows_learn_the_whole_answer_once_and_leave_out_those_that_learn_nothing() -> None:
    conversation = _asked("How long? " * 40, "122 metres " * 40)
    rendering = _RENDERER.render(conversation)[0]
    for overlap in (0, 16):
        dataset = chat_dataset(
            [("f:1", conversation)], _RENDERER, max_length=48, too_long="sliding", overlap=overlap
        )
        assert (dataset.num_slid, dataset.num_windows) == (1, dataset.num_rows)
        assert dataset.num_supervised == rendering.num_supervised
        learnt = dataset.token_ids[dataset.weights > 0].tolist()
        assert learnt == [one for one, w in zip(rendering.token_ids, rendering.weights, strict=True) if w]
        assert dataset.lengths().max() <= 48 and set(dataset.places) == {"f:1"}
        assert all(dataset.row(index)[1].any() for index in range(dataset.num_rows))


def test_a_cut_that_leaves_nothing_to_learn_drops_the_row() -> None:
    rows = [("f:1", _asked("Hi", "Yes")), ("f:2", _asked("How long? " * 60, "122 m"))]
    dataset = chat_dataset(rows, _RENDERER, max_length=64, too_long="head")
    assert (dataset.num_rows, dataset.num_dropped, dataset.num_truncated) == (1, 1, 0)
    with pytest.raises(DataError, match="no row is left"):
        chat_dataset(rows[1:], _RENDERER, max_length=64, too_long="drop")


def test_rows_that_cannot_be_learnt_are_named() -> None:
    with pytest.raises(DataError, match=r"f:3: .*no assistant turn"):
        chat_dataset([("f:3", Conversation((Message("user", "Hi"),)))], _RENDERER, max_length=99)
    with pytest.raises(DataError, match="f:4: nothing to learn"):
        muted = Conversation((Message("user", "Hi"), Message("assistant", "Yes", weight=0.0)))
        chat_dataset([("f:4", muted)], _RENDERER, max_length=99)
    strict = Renderer(byte_tokenizer("strict"))
    system = Conversation((Message("system", "Be brief."), *_asked("Hi", "Yes").messages))
    with pytest.raises(TemplateError, match="f:5: "):
        chat_dataset([("f:5", system)], strict, max_length=99)


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text("abc é<|>\n", min_size=1, max_size=60), min_size=1, max_size=6),
    max_length=st.integers(2, 12),
)
def test_documents_predict_each_token_but_the_first_exactly_once(texts: list[str], max_length: int) -> None:
    rows = [Row("f", number, {"text": text}) for number, text in enumerate(texts, start=1)]
    dataset = text_dataset(rows, _TOKENIZER, max_length=max_length)
    assert dataset.lengths().max() <= max_length
    predicted: dict[str, list[int]] = {row.where: [] for row in rows}
    for index, place in enumerate(dataset.places):
        token_ids, weights = dataset.row(index)
        assert weights[0] == 0 and (weights[1:] == 1).all()
        predicted[place] += token_ids[1:].tolist()
    for row in rows:
        ids = _TOKENIZER(row.value["text"], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert predicted[row.where] == [*ids, _TOKENIZER.eos_token_id][1:]


@pytest.mark.parametrize("value", [{}, {"text": ""}, {"text": 3}])
def test_a_document_without_a_text_is_named(value: dict[str, object]) -> None:
    with pytest.raises(DataError, match="f:9: field 'text'"):
        text_dataset([Row("f", 9, value)], _TOKENIZER, max_length=8)
