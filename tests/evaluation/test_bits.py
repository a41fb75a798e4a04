"""Bits per byte, against a float64 reference that asks the model for one token at a time."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.chat.render import Renderer
from luthier.errors import EvaluationError
from luthier.evaluation.bits import bits_per_byte, bits_per_byte_of, windows
from luthier.models.load import LoadedModel, Source
from tests.toy import byte_tokenizer, metaspace_tokenizer, tiny_model

TEXTS = [
    "The width is 68 metres, naïve café 🏉.",
    "",
    "a",
    "Hello there! " * 9,
    "<|im_end|> is plain text here",
]


def encode_bytes(text: str) -> list[int]:
    return [1 + byte for byte in text.encode()]


def twin_nats(model: Any, token_ids: Sequence[int], contexts: Sequence[Sequence[int]]) -> float:
    """-sum log p(token | context), one forward pass of the whole model per token, in float64."""
    total = 0.0
    for token_id, context in zip(token_ids, contexts, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([context]), use_cache=False).logits[0, -1].double()
        total -= float(torch.log_softmax(logits, dim=-1)[token_id])
    return total


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(("max_length", "stride"), [(500, 500), (16, 16), (16, 5), (7, 1), (1, 1)])
def test_equals_one_token_at_a_time(architecture: str, max_length: int, stride: int) -> None:
    model = tiny_model(architecture, vocab_size=257).double()
    texts = [*TEXTS[:3], "Hello there! " * 3]
    nats = 0.0
    for text in texts:
        tokens = [0, *encode_bytes(text)]
        # Position t is charged in the first window that ends behind it; the end grows by whole strides.
        contexts = []
        for t in range(1, len(tokens)):
            end = max_length + max(0, math.ceil((t - max_length) / stride)) * stride
            begin = max(0, min(end, len(tokens) - 1) - max_length)
            contexts.append(tokens[begin:t])
        nats += twin_nats(model, tokens[1:], contexts)
    num_bytes = sum(len(text.encode()) for text in texts)
    found = bits_per_byte(model, encode_bytes, texts, max_length=max_length, stride=stride, start_id=0)
    assert found.num_bytes == found.num_tokens == num_bytes
    assert found.nats_per_token == pytest.approx(
        nats / num_bytes, rel=1e-12 if architecture == "llama" else 1e-6
    )
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-6)


@given(st.integers(-1, 80), st.integers(1, 20), st.data())
def test_every_position_is_charged_once_and_sees_enough(
    num_inputs: int, max_length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, max_length))
    cut = list(windows(num_inputs, max_length, stride))
    assert [t for window in cut for t in range(window.first_charged, window.end)] == list(range(num_inputs))
    for window in cut:
        assert 0 <= window.begin <= window.first_charged < window.end <= window.begin + max_length
        assert window.begin == 0 or window.first_charged - window.begin >= max_length - stride


def test_a_model_that_knows_nothing_needs_the_bits_of_a_uniform_choice() -> None:
    model = tiny_model(vocab_size=256)
    torch.nn.init.zeros_(model.lm_head.weight)
    for start_id in (0, None):
        found = bits_per_byte(
            model, lambda text: list(text.encode()), TEXTS, max_length=16, start_id=start_id
        )
        assert found.bits_per_byte == pytest.approx(8.0, rel=1e-6)


def test_without_a_start_token_only_the_first_token_is_charged_as_a_uniform_choice() -> None:
    model = tiny_model(vocab_size=257).double()
    text = TEXTS[0]
    tokens = encode_bytes(text)
    nats = math.log(257) + twin_nats(model, tokens[1:], [tokens[:t] for t in range(1, len(tokens))])
    found = bits_per_byte(model, encode_bytes, [text], max_length=100, start_id=None)
    assert found.nats_per_token * found.num_tokens == pytest.approx(nats, rel=1e-12)


def test_batches_and_the_training_flag_change_nothing() -> None:
    model = tiny_model(vocab_size=257).double().train()
    calls: list[tuple[int, int]] = []
    found = [
        bits_per_byte(
            model,
            encode_bytes,
            TEXTS,
            max_length=16,
            start_id=0,
            batch_size=size,
            progress=lambda done, total: calls.append((done, total)),
        ).bits_per_byte
        for size in (1, 3, 100)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    assert model.training
    assert calls[-1][0] == calls[-1][1]


def loaded_toy(tokenizer: Any) -> LoadedModel:
    model = tiny_model(vocab_size=len(tokenizer))
    return LoadedModel(
        model, tokenizer, Renderer(tokenizer), Source("toy", "toy"), torch.device("cpu"), torch.float32
    )


@pytest.mark.parametrize("make_tokenizer", [byte_tokenizer, metaspace_tokenizer])
def test_a_loaded_model_charges_control_strings_as_plain_text(make_tokenizer: Any) -> None:
    loaded = loaded_toy(make_tokenizer())
    found = bits_per_byte_of(loaded, TEXTS, max_length=32)
    assert found.num_bytes == sum(len(text.encode()) for text in TEXTS)
    cut = loaded.tokenizer(TEXTS[-1], add_special_tokens=False)["input_ids"]
    assert bits_per_byte_of(loaded, [TEXTS[-1]], max_length=32).num_tokens > len(cut)
    assert found.bits_per_byte > 0


def test_what_cannot_be_measured_is_an_error() -> None:
    loaded = loaded_toy(byte_tokenizer())
    with pytest.raises(EvaluationError, match="its context holds 1024"):
        bits_per_byte_of(loaded, TEXTS, max_length=1025)
    with pytest.raises(EvaluationError, match="got none"):
        bits_per_byte_of(loaded, [""])
    with pytest.raises(EvaluationError, match="stride 9"):
        bits_per_byte_of(loaded, TEXTS, max_length=8, stride=9)


def test_a_tokenizer_that_loses_text_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"unk_token": "a"})
    with pytest.raises(EvaluationError, match="lost cannot be charged"):
        bits_per_byte_of(loaded_toy(tokenizer), ["a"])
