"""llama2.c models, against the text that the model's own author states for it, word for word."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarks.llama2c import BOS_ID, Llama2cTokenizer, read_model, read_tokenizer

from luthier.errors import ModelError

_STEPS = 256  # what llama2.c generates unless told otherwise


def stated_greedy_text(card: Path) -> str:
    """The text under the first `-t 0.0` command of the model's card."""
    _, after = card.read_text(encoding="utf-8").split("tok512.bin -t 0.0\n", 1)
    return after.split("\n```", 1)[0]


def test_greedy_text_is_the_one_that_the_author_states(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("models/stories260K")
    model, tokenizer = read_model(folder / "stories260K.bin"), read_tokenizer(folder / "tok512.bin")
    stated = stated_greedy_text(folder / "stories260K.md")
    start = torch.tensor([[BOS_ID]])
    ids = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=_STEPS, do_sample=False)
    generated = ids[0, 1:].tolist()
    assert tokenizer.decode(generated) == stated
    assert tokenizer.encode(stated) == generated


@pytest.mark.parametrize(
    "text",
    [
        "a",
        " a",
        "  two  spaces ",
        "line\nbreak\t",
        "日本 é \x00 🏉",
        "<s>\n<s>\n<0x41> <unk>",
        "Once upon a time",
    ],
)
def test_decode_gives_the_text_back(shared_data: Callable[[str], Path], text: str) -> None:
    tokenizer = read_tokenizer(shared_data("models/stories260K/tok512.bin"))
    ids = tokenizer.encode(text)
    assert min(ids) >= 3  # no control token, whatever the text says
    assert tokenizer.decode(ids) == text


def toy_tokenizer(**scores: float) -> Llama2cTokenizer:
    """A tokenizer of the given pieces (_ is a space), their characters and a space."""
    names = [piece.replace("_", " ") for piece in scores]
    characters = sorted({" ", *"".join(names)} - set(names))
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
    values = [0.0] * len(pieces) + [-100.0] * len(characters) + list(scores.values())
    return Llama2cTokenizer([*pieces, *(text.encode() for text in (*characters, *names))], values)


def pieces_of(tokenizer: Llama2cTokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token_id]) for token_id in tokenizer.encode(text)]


def test_the_best_score_merges_first() -> None:
    assert pieces_of(toy_tokenizer(ab=-1, bc=-2), "abc")[1:] == ["ab", "c"]
    assert pieces_of(toy_tokenizer(ab=-2, bc=-1), "abc")[1:] == ["a", "bc"]


def test_of_equal_pairs_the_first_merges() -> None:
    assert pieces_of(toy_tokenizer(aa=-1), "aaa")[1:] == ["aa", "a"]


def test_a_text_begins_with_a_space() -> None:
    tokenizer = toy_tokenizer(_a=-1)
    assert tokenizer.encode("a") == tokenizer.encode("a a")[:1] == [tokenizer.vocab_size - 1]
    assert tokenizer.encode("") == []


def test_bytes_stand_for_a_character_without_a_piece() -> None:
    assert toy_tokenizer(ab=-1).encode("é")[1:] == [3 + 0xC3, 3 + 0xA9]


def test_a_piece_with_a_space_inside_is_refused() -> None:
    with pytest.raises(ModelError, match="space"):
        toy_tokenizer(a_b=-1)


def write_checkpoint(path: Path, *, tied: bool, cut: int = 0) -> None:
    """A checkpoint of one layer, dim 8, 2 heads, 1 key head, 5 tokens, 4 positions, with random numbers."""
    dim, hidden, kv_dim, vocab, positions, head_dim = 8, 12, 4, 5, 4, 4
    count = vocab * dim + 2 * dim * dim + 2 * kv_dim * dim + 3 * dim * hidden + 3 * dim + positions * head_dim
    count += 0 if tied else vocab * dim
    numbers = torch.randn(count - cut, generator=torch.Generator().manual_seed(0)).tolist()
    header = struct.pack("<7i", dim, hidden, 1, 2, 1, vocab if tied else -vocab, positions)
    path.write_bytes(header + struct.pack(f"<{len(numbers)}f", *numbers))


@pytest.mark.parametrize("tied", [True, False])
def test_the_sign_of_the_vocabulary_says_whether_the_classifier_is_tied(tmp_path: Path, tied: bool) -> None:
    write_checkpoint(tmp_path / "toy.bin", tied=tied)
    model = read_model(tmp_path / "toy.bin")
    assert model.config.tie_word_embeddings is tied
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight) is tied


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "toy.bin", tied=True, cut=1)
    with pytest.raises(ModelError, match="header asks for"):
        read_model(tmp_path / "toy.bin")
    (tmp_path / "toy.bin").write_bytes(b"no header")
    with pytest.raises(ModelError, match="28 bytes"):
        read_model(tmp_path / "toy.bin")


def test_a_tokenizer_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    path.write_bytes(struct.pack("<i", 5) + struct.pack("<fi", 0.0, 5) + b"<un")
    with pytest.raises(ModelError, match="cut short"):
        read_tokenizer(path)
