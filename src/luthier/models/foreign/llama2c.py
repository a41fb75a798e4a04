"""A checkpoint of llama2.c (its legacy form, a .bin of float32) and its tokenizer as a model folder.

The form is that of llama2.c's export.py, version 0: seven int32, then weights by kind, each kind over all layers.
llama2.c rotates neighbouring dimensions of a head, transformers rotates halves: rows of q and k are put in order.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ModelError
from luthier.files import atomic_directory

_HEADER = struct.Struct("<7i")
_ROPE_THETA = 10000.0
_UNKNOWN, _BOS, _EOS, _FIRST_BYTE = 0, 1, 2, 3
_SPACE = "\u2581"


@dataclass(frozen=True)
class Llama2cConfig:
    """The header. A negative vocabulary in the file says that the output is not tied to the embeddings."""

    dim: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    context_length: int
    tied: bool

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    def arrays(self) -> list[tuple[str, tuple[int, ...]]]:
        """What follows the header, in order; the first number of a layer's weight counts layers."""
        layers, dim, hidden, kv = (
            self.num_layers,
            self.dim,
            self.hidden_dim,
            self.num_kv_heads * self.head_dim,
        )
        table = (self.context_length, self.head_dim // 2)
        output = [] if self.tied else [("lm_head", (self.vocab_size, dim))]
        return [
            ("embed_tokens", (self.vocab_size, dim)),
            ("input_layernorm", (layers, dim)),
            ("self_attn.q_proj", (layers, dim, dim)),
            ("self_attn.k_proj", (layers, kv, dim)),
            ("self_attn.v_proj", (layers, kv, dim)),
            ("self_attn.o_proj", (layers, dim, dim)),
            ("post_attention_layernorm", (layers, dim)),
            ("mlp.gate_proj", (layers, hidden, dim)),
            ("mlp.down_proj", (layers, dim, hidden)),
            ("mlp.up_proj", (layers, hidden, dim)),
            ("norm", (dim,)),
            ("rotary cosines", table),
            ("rotary sines", table),
            *output,
        ]


def import_llama2c(checkpoint: Path, tokenizer: Path, out: Path) -> None:
    """Write the checkpoint and the tokenizer (tok512.bin's form) as the model folder `out`.

    Raises ModelError where a file is not of this form, or its sizes contradict each other.
    """
    from safetensors.numpy import save_file

    config = _read_header(checkpoint)
    weights = _named(config, _read_arrays(checkpoint, config))
    backend = _tokenizer_json(*_read_tokenizer(tokenizer, config.vocab_size))
    with atomic_directory(out, replace=False) as beside:
        save_file(weights, beside / "model.safetensors", metadata={"format": "pt"})
        _dump(beside / "config.json", _config_json(config))
        _dump(beside / "tokenizer.json", backend)
        _dump(
            beside / "tokenizer_config.json", _TOKENIZER_CONFIG | {"model_max_length": config.context_length}
        )


def _read_header(path: Path) -> Llama2cConfig:
    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(_HEADER.size)
    if len(data) < _HEADER.size:
        raise ModelError(f"{path}: {size} bytes, the header of llama2.c alone has {_HEADER.size}")
    dim, hidden, layers, heads, kv_heads, vocabulary, length = _HEADER.unpack(data)
    sizes = (dim, hidden, layers, heads, kv_heads, abs(vocabulary), length)
    if any(not 0 < n < 1 << 24 for n in sizes) or dim % heads or heads % kv_heads or dim // heads % 2:
        raise ModelError(
            f"{path}: not a legacy checkpoint of llama2.c: its header would be {sizes} (dim, hidden, layers, heads, "
            "key-value heads, vocabulary, length)"
        )
    config = Llama2cConfig(dim, hidden, layers, heads, kv_heads, abs(vocabulary), length, vocabulary > 0)
    promised = _HEADER.size + 4 * sum(_count(shape) for _, shape in config.arrays())
    if promised != size:
        raise ModelError(f"{path}: its header {sizes} promises {promised} bytes, the file has {size}")
    return config


def _count(shape: tuple[int, ...]) -> int:
    count = 1  # exact, where numpy would wrap around
    for n in shape:
        count *= n
    return count


def _read_arrays(path: Path, config: Llama2cConfig) -> dict[str, NDArray[np.float32]]:
    data = np.memmap(path, dtype="<f4", mode="r", offset=_HEADER.size)
    arrays, at = {}, 0
    for name, shape in config.arrays():
        arrays[name] = data[at : at + _count(shape)].reshape(shape)
        at += _count(shape)
    return arrays


def _named(config: Llama2cConfig, arrays: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    weights = {
        "model.embed_tokens.weight": np.array(arrays["embed_tokens"]),
        "model.norm.weight": np.array(arrays["norm"]),
    }
    if not config.tied:
        weights["lm_head.weight"] = np.array(arrays["lm_head"])
    for name, values in arrays.items():
        if "layernorm" not in name and "_proj" not in name:
            continue
        for i, layer in enumerate(values):
            if name.endswith(("q_proj", "k_proj")):
                layer = _halves(layer, len(layer) // config.head_dim)
            weights[f"model.layers.{i}.{name}.weight"] = np.array(layer)
    return weights


def _halves(rows: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Rows of q or k from neighbours that rotate together to halves that do."""
    pairs = rows.reshape(num_heads, len(rows) // num_heads // 2, 2, rows.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def _config_json(config: Llama2cConfig) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": _ROPE_THETA},
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "bos_token_id": _BOS,
        "eos_token_id": _EOS,
        "dtype": "float32",
    }


def _read_tokenizer(path: Path, vocab_size: int) -> tuple[list[str], list[float]]:
    """Pieces and their scores: the length of the longest, then score, length and bytes of each."""
    data, at = path.read_bytes(), 4
    pieces: list[str] = []
    scores: list[float] = []
    while at < len(data):
        if at + 8 > len(data):
            raise ModelError(f"{path}: cut short at byte {at}")
        score, length = struct.unpack_from("<fi", data, at)
        at += 8
        if not 0 <= length <= len(data) - at or not np.isfinite(score):
            raise ModelError(
                f"{path}: piece {len(pieces)} is said to have {length} bytes and the score {score}"
            )
        try:
            pieces.append(data[at : at + length].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: piece {len(pieces)} is not UTF-8") from error
        scores.append(score)
        at += length
    if len(pieces) != vocab_size:
        raise ModelError(
            f"{path}: {len(pieces)} pieces for a model of {vocab_size}: they do not belong together"
        )
    return pieces, scores


def _tokenizer_json(pieces: list[str], scores: list[float]) -> dict[str, Any]:
    """llama2.c joins the neighbours whose piece has the greatest score; merges in that order say the same."""
    specials = {_UNKNOWN: "<unk>", _BOS: "<s>", _EOS: "</s>"}
    vocabulary: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        name = specials.get(i) or (
            f"<0x{i - _FIRST_BYTE:02X}>"
            if _FIRST_BYTE <= i < _FIRST_BYTE + 256
            else piece.replace(" ", _SPACE)
        )
        vocabulary.setdefault(name, i)
    joined = sorted(
        (name for name, i in vocabulary.items() if i >= _FIRST_BYTE + 256 and len(name) > 1),
        key=lambda name: (-scores[vocabulary[name]], vocabulary[name]),
    )
    merges = [
        [name[:at], name[at:]]
        for name in joined
        for at in range(1, len(name))
        if name[:at] in vocabulary and name[at:] in vocabulary
    ]
    return _BACKEND | {
        "added_tokens": [_ADDED | {"id": i, "content": text} for i, text in specials.items()],
        "model": _BACKEND["model"] | {"vocab": vocabulary, "merges": merges},
    }


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")


_ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
_BACKEND: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "first", "split": False},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [_BOS], "tokens": ["<s>"]}},
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
    },
}
_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
}
