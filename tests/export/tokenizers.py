"""Tokenizers whose splitting of texts a GGUF file must repeat."""

import json
from typing import Any

from tests.toy import byte_tokenizer, metaspace_tokenizer

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split_tokenizer(pattern: str, family: str = "chatml") -> Any:
    """Byte-level BPE that splits texts by a pattern of its own."""
    from tokenizers import Regex, pre_tokenizers

    tokenizer = byte_tokenizer(family)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def sentencepiece_tokenizer(scheme: str, family: str = "inst") -> Any:
    """The metaspace toy with every way of making a piece among its merges, as SentencePiece joins.

    `scheme`: Llama 2's `first` or `always`, or Gemma's `never`.
    """
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    tokenizer = metaspace_tokenizer(family)
    config = json.loads(tokenizer.backend_tokenizer.to_str())
    pieces = ["".join(pair) for pair in config["model"]["merges"]]
    known = set(config["model"]["vocab"])
    config["model"]["merges"] = [
        [piece[:at], piece[at:]]
        for piece in dict.fromkeys(pieces)
        for at in range(1, len(piece))
        if {piece[:at], piece[at:]} <= known
    ]
    backend = Tokenizer.from_str(json.dumps(config))
    if scheme == "never":
        backend.normalizer = normalizers.Replace(" ", "▁")
        backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer._tokenizer = backend
    return tokenizer
