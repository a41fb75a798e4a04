"""Read a model of llama2.c (https://github.com/karpathy/llama2.c): its legacy weights and its tokenizer.

`read_model` gives a transformers LlamaForCausalLM in float32, `read_tokenizer` a SentencePiece-like BPE.
Both files are plain numbers; nothing is unpickled. This file knows nothing of what is measured.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.errors import ModelError

BOS_ID = 1  # it also ends a text: the training stream has it between documents
_FIRST_BYTE_ID = 3
_FIRST_PIECE_ID = _FIRST_BYTE_ID + 256


def read_model(path: Path) -> Any:
    """The model of a legacy (version 0) checkpoint. Raises ModelError where size and header do not agree.

    Header: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len); a negative
    vocab_size says that the classifier has weights of its own. Then float32 tensors, a kind at a time for
    all layers.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    data = path.read_bytes()
    if len(data) < 28:
        raise ModelError(
            f"{path}: expected a llama2.c checkpoint with a header of 28 bytes, got {len(data)} bytes"
        )
    dim, hidden, layers, heads, kv_heads, signed_vocab, positions = struct.unpack("<7i", data[:28])
    tied, vocab = signed_vocab > 0, abs(signed_vocab)
    if min(dim, hidden, layers, heads, kv_heads, vocab, positions) < 1 or dim % heads or heads % kv_heads:
        raise ModelError(
            f"{path}: not a legacy llama2.c checkpoint: its header reads {struct.unpack('<7i', data[:28])}"
        )
    head_dim = dim // heads
    shapes = {
        "embed": (vocab, dim),
        "attention_norm": (layers, dim),
        "q": (layers, dim, dim),
        "k": (layers, kv_heads * head_dim, dim),
        "v": (layers, kv_heads * head_dim, dim),
        "o": (layers, dim, dim),
        "mlp_norm": (layers, dim),
        "gate": (layers, hidden, dim),
        "down": (layers, dim, hidden),
        "up": (layers, hidden, dim),
        "norm": (dim,),
        "rotary_cos": (positions, head_dim // 2),
        "rotary_sin": (positions, head_dim // 2),
    } | ({} if tied else {"classifier": (vocab, dim)})
    tensors = _tensors(path, np.frombuffer(data, "<f4", offset=28), shapes)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=positions,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=tied,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    weights = dict(_named(tensors, layers, heads, kv_heads))
    model.load_state_dict(
        weights if not tied else weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}
    )
    return model.eval()


def _tensors(
    path: Path, values: NDArray[np.float32], shapes: dict[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float32]]:
    expected = sum(int(np.prod(shape)) for shape in shapes.values())
    if len(values) != expected:
        raise ModelError(f"{path}: its header asks for {expected} numbers, but {len(values)} are there")
    tensors, begin = {}, 0
    for name, shape in shapes.items():
        end = begin + int(np.prod(shape))
        tensors[name], begin = values[begin:end].reshape(shape), end
    return tensors


def _named(
    tensors: dict[str, NDArray[np.float32]], layers: int, heads: int, kv_heads: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors under the names of transformers."""
    yield "model.embed_tokens.weight", torch.tensor(tensors["embed"])
    yield "model.norm.weight", torch.tensor(tensors["norm"])
    if "classifier" in tensors:
        yield "lm_head.weight", torch.tensor(tensors["classifier"])
    names = {
        "attention_norm": "input_layernorm",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "down": "mlp.down_proj",
        "up": "mlp.up_proj",
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for ours, theirs in names.items():
            yield f"{prefix}.{theirs}.weight", torch.tensor(tensors[ours][layer])
        yield f"{prefix}.self_attn.q_proj.weight", torch.tensor(_halved(tensors["q"][layer], heads))
        yield f"{prefix}.self_attn.k_proj.weight", torch.tensor(_halved(tensors["k"][layer], kv_heads))


def _halved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """llama2.c rotates channels 2i and 2i + 1 together; transformers rotates i and i + head_dim / 2."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns).copy()


class Llama2cTokenizer:
    """BPE by score: of all neighbours that make a piece, those whose piece has the best score merge first.

    A text gets a space in front; characters without a piece of their own are written as their bytes.
    """

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float]) -> None:
        if any(b" " in piece[1:] for piece in pieces[_FIRST_PIECE_ID:]):
            raise ModelError(
                "expected pieces with a space at most in front: words are cut at spaces before merging"
            )
        self._pieces = list(pieces)
        self._scores = list(scores)
        # Control and byte pieces have names that a text may hold too; only the other pieces stand for text.
        self._ids = {piece: i for i, piece in enumerate(pieces) if i >= _FIRST_PIECE_ID}
        self._cache: dict[str, list[int]] = {}

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without BOS."""
        if not text:
            return []
        return [token_id for word in re.findall(" [^ ]*", " " + text) for token_id in self._word(word)]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, without the space in front. Control ids give nothing."""
        data = b"".join(self._bytes(token_id) for token_id in token_ids)
        return data.decode(errors="replace").removeprefix(" ")

    def _bytes(self, token_id: int) -> bytes:
        if token_id >= _FIRST_PIECE_ID:
            return self._pieces[token_id]
        return bytes([token_id - _FIRST_BYTE_ID]) if token_id >= _FIRST_BYTE_ID else b""

    def _word(self, word: str) -> list[int]:
        if word not in self._cache:
            self._cache[word] = self._merge([i for character in word for i in self._character(character)])
        return self._cache[word]

    def _character(self, character: str) -> list[int]:
        data = character.encode()
        return [self._ids[data]] if data in self._ids else [_FIRST_BYTE_ID + byte for byte in data]

    def _merge(self, ids: list[int]) -> list[int]:
        while True:
            best_score, best_at, best_id = -1e10, -1, -1
            for at in range(len(ids) - 1):
                if min(ids[at], ids[at + 1]) < _FIRST_PIECE_ID:
                    continue
                merged = self._ids.get(self._pieces[ids[at]] + self._pieces[ids[at + 1]], -1)
                if merged >= 0 and self._scores[merged] > best_score:
                    best_score, best_at, best_id = self._scores[merged], at, merged
            if best_at < 0:
                return ids
            ids[best_at : best_at + 2] = [best_id]


def read_tokenizer(path: Path) -> Llama2cTokenizer:
    """The tokenizer of a `tok*.bin`: int32 longest piece; per piece float32 score, int32 length, bytes.

    Raises ModelError where the file is cut short.
    """
    data = path.read_bytes()
    pieces: list[bytes] = []
    scores: list[float] = []
    at = 4
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            (piece,) = struct.unpack_from(f"<{length}s", data, at + 8)
            pieces.append(piece)
            scores.append(score)
            at += 8 + length
    except struct.error as error:
        raise ModelError(f"{path}: not a llama2.c tokenizer, or cut short, at byte {at}: {error}") from error
    if len(pieces) < _FIRST_PIECE_ID:
        raise ModelError(f"{path}: expected at least {_FIRST_PIECE_ID} pieces, got {len(pieces)}")
    return Llama2cTokenizer(pieces, scores)
