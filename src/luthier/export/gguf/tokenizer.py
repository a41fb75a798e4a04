"""A tokenizer.json as the `tokenizer.*` keys of a GGUF file.

Covered are byte-level BPE and, by `sentencepiece`, BPE over characters. llama.cpp knows each way of splitting bytes by
a name and not by its pattern, so the name is found: from the pattern where it is a known one, else by comparing
tokenisations through llama.cpp, where it is there. This file knows nothing of weights.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.errors import ExportError, TemplateError
from luthier.export.gguf.sentencepiece import is_sentencepiece, prepends_space, scores_and_types

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Token types of the GGUF specification that byte-level BPE needs."""

TRICKY_TEXTS = (
    "Hello, world! I'm here; you're there, they'LL go.",
    "  two spaces,\ttabs\t\tand\n\nlines \r\n end  ",
    "It costs 1234567.89 in 2024, or 0x1F.",
    "Größe, naïve, Ελληνικά, русский, 日本語, 한국어, עברית",
    "emoji 🙂👩‍👩‍👧 and e\u0301 and \u00a0 no-break",
    "def f(x):\n    return x**2  # comment\n\n\n",
    "user@example.com https://example.com/a?b=c&d=%20",
    "'s 't 've 'S \"quoted\" (a)[b]{c} a_b-c ... !!! ???",
)
"""What pre-tokenizers differ on: digits, spaces, line ends, contractions, scripts, punctuation."""

_TAIL = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_KNOWN_SPLITS = {
    _CONTRACTIONS + _TAIL % r"\p{N}": "qwen2",
    _CONTRACTIONS + _TAIL % r"\p{N}{1,3}": "llama-bpe",
}
CANDIDATES = (
    *("gpt-2", "smollm", "qwen2", "llama-bpe", "tekken", "gpt-4o", "deepseek-llm", "deepseek-coder"),
    *("starcoder", "command-r", "olmo", "stablelm2", "dbrx", "falcon", "mpt", "refact", "default"),
)
"""Names that are tried where the pattern is not a known one."""

Tokenise = Callable[[dict[str, Any], Sequence[str]], list[list[int]]]
"""Token ids of texts, by llama.cpp, under these `tokenizer.*` keys."""


@dataclass(frozen=True)
class GgufTokenizer:
    """`keys`: the `tokenizer.*` entries. `notes`: what a user must know, in sentences."""

    keys: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def gguf_tokenizer(tokenizer: Any, vocab_size: int, tokenise: Tokenise | None = None) -> GgufTokenizer:
    """The keys of a tokenizer for a model with `vocab_size` rows of embeddings.

    `tokenise`: llama.cpp's, where it is there. Raises ExportError for a tokenizer that is of neither kind, or that has
    more tokens than the model has rows.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if is_sentencepiece(backend):
        return _sentencepiece(tokenizer, backend, vocab_size, tokenise)
    _refuse_other_kinds(backend)
    tokens, types = _tokens(tokenizer, backend, vocab_size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in backend["model"]["merges"]]
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        **special_keys(tokenizer),
    }
    name, notes = _pre_tokenizer(tokenizer, backend, keys, tokenise)
    keys["tokenizer.ggml.pre"] = name
    return GgufTokenizer(keys, notes)


def _sentencepiece(
    tokenizer: Any, backend: dict[str, Any], vocab_size: int, tokenise: Tokenise | None
) -> GgufTokenizer:
    scheme = prepends_space(backend)
    scores, piece_types = scores_and_types(backend)
    tokens, types = _tokens(tokenizer, backend, vocab_size)
    # llama.cpp puts the space after control tokens too, or nowhere.
    after_control = scheme == "first" and tokenizer.chat_template is not None
    add_space = scheme == "always" or (scheme == "first" and not after_control)
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [scores.get(token, 0.0) for token in tokens],
        "tokenizer.ggml.token_type": [
            piece_types.get(token, kind)
            if kind == NORMAL or token == backend["model"].get("unk_token")
            else kind
            for token, kind in zip(tokens, types, strict=True)
        ],
        "tokenizer.ggml.add_space_prefix": add_space,
        **special_keys(tokenizer),
    }
    notes = []
    if after_control:
        notes = [
            "llama.cpp puts no space before a bare text here, as this model's chat template has it in a chat"
        ]
    if scheme == "always" and backend["pre_tokenizer"]:
        notes = ["llama.cpp puts a space before a text that begins with one too; this tokenizer does not"]
    if tokenise is not None and not same_tokens(tokenizer, keys, tokenise, inside_chat=after_control):
        raise ExportError(
            f"GGUF: llama.cpp splits some of {len(TRICKY_TEXTS)} texts otherwise than this tokenizer does. Export the "
            "model as hf instead"
        )
    return GgufTokenizer(keys, notes)


def special_keys(tokenizer: Any) -> dict[str, Any]:
    """bos, eos, end of turn, padding, whether a prompt begins with bos, and the chat template."""
    keys: dict[str, Any] = {}
    for name, token_id in (
        ("bos", tokenizer.bos_token_id),
        ("eos", tokenizer.eos_token_id),
        ("unknown", tokenizer.unk_token_id),
        ("padding", tokenizer.pad_token_id),
    ):
        if token_id is not None:
            keys[f"tokenizer.ggml.{name}_token_id"] = int(token_id)
    template = tokenizer.chat_template
    if isinstance(template, dict):
        for name, text in template.items():
            key = "tokenizer.chat_template" + ("" if name == "default" else f".{name}")
            keys[key] = text
        keys["tokenizer.chat_templates"] = [name for name in template if name != "default"]
    elif template:
        keys["tokenizer.chat_template"] = template
    if template:
        keys["tokenizer.ggml.eot_token_id"] = int(Renderer(tokenizer).end_of_turn_id)
    keys["tokenizer.ggml.add_bos_token"] = _begins_with_bos(tokenizer)
    keys["tokenizer.ggml.add_eos_token"] = False
    return keys


def _begins_with_bos(tokenizer: Any) -> bool:
    """Whether the model saw bos before everything: as its renderer writes a prompt, or its tokenizer a text."""
    if tokenizer.bos_token_id is None:
        return False
    try:
        ids = Renderer(tokenizer).prompt([Message("user", "Hello")])
    except TemplateError:
        ids = tokenizer("Hello")["input_ids"]
    return bool(ids[:1] == [tokenizer.bos_token_id])


def _refuse_other_kinds(backend: dict[str, Any]) -> None:
    byte_level = [step for step in _steps(backend) if step["type"] == "ByteLevel"]
    if backend["model"]["type"] != "BPE" or not byte_level:
        raise ExportError(
            f"GGUF: expected a byte-level BPE tokenizer, or SentencePiece's with bytes to fall back to; got "
            f"{backend['model']['type']} of another kind. Export the model as hf instead"
        )
    if byte_level[0].get("add_prefix_space"):
        raise ExportError(
            "GGUF: this tokenizer puts a space before every text (add_prefix_space); llama.cpp's BPE does not. "
            "Export the model as hf instead"
        )


def _steps(backend: dict[str, Any]) -> list[dict[str, Any]]:
    pre: dict[str, Any] = backend.get("pre_tokenizer") or {"type": "none"}
    return list(pre["pretokenizers"]) if pre["type"] == "Sequence" else [pre]


def _tokens(tokenizer: Any, backend: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    by_id = {int(i): text for text, i in backend["model"]["vocab"].items()}
    kinds = dict.fromkeys(by_id, NORMAL)
    for token in backend["added_tokens"]:
        by_id[token["id"]] = token["content"]
        kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    if max(by_id) >= vocab_size:
        raise ExportError(
            f"GGUF: the tokenizer has the id {max(by_id)} and the model only {vocab_size} rows of embeddings: "
            "they do not belong together"
        )
    if tokenizer.chat_template:
        # An end of turn that is not flagged as special would be shown to the user, and not stop him.
        kinds[Renderer(tokenizer).end_of_turn_id] = CONTROL
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(vocab_size)]
    return tokens, [kinds.get(i, UNUSED) for i in range(vocab_size)]


def _pre_tokenizer(
    tokenizer: Any, backend: dict[str, Any], keys: dict[str, Any], tokenise: Tokenise | None
) -> tuple[str, list[str]]:
    known = _known_name(backend)
    notes = (
        [] if not backend.get("normalizer") else ["llama.cpp does not normalise Unicode; this tokenizer does"]
    )
    if tokenise is None:
        if known is not None:
            return known, notes
        return "default", [
            *notes,
            "this way of splitting text has no name in llama.cpp that Luthier knows; `default` was written, which may "
            "tokenise some texts differently. With llama-cpp-python installed the names are tried",
        ]
    for name in (known, *CANDIDATES) if known else CANDIDATES:
        if same_tokens(tokenizer, {**keys, "tokenizer.ggml.pre": name}, tokenise):
            return name, notes
    raise ExportError(
        "GGUF: under no name does llama.cpp split text as this tokenizer does: these were tried on "
        f"{len(TRICKY_TEXTS)} texts ({', '.join(CANDIDATES)}). Export the model as hf instead"
    )


def same_tokens(
    tokenizer: Any, keys: dict[str, Any], tokenise: Tokenise, *, inside_chat: bool = False
) -> bool:
    """Whether llama.cpp, under these keys, splits the tricky texts as the tokenizer does (once normalised).

    `inside_chat`: as it does behind a control token, where no text begins.
    """
    if is_sentencepiece(json.loads(tokenizer.backend_tokenizer.to_str())):
        # Metaspace leaves a space that is there alone, llama.cpp puts another before it.
        texts = [text.lstrip() for text in TRICKY_TEXTS]
    else:
        normalizer = tokenizer.backend_tokenizer.normalizer
        texts = [normalizer.normalize_str(text) if normalizer else text for text in TRICKY_TEXTS]
    before = tokenizer.convert_ids_to_tokens(Renderer(tokenizer).end_of_turn_id) if inside_chat else ""
    want = [tokenizer(before + text, add_special_tokens=False)["input_ids"][bool(before) :] for text in texts]
    return tokenise(keys, texts) == want


def _known_name(backend: dict[str, Any]) -> str | None:
    steps = _steps(backend)
    match [step["type"] for step in steps]:
        case ["ByteLevel"] if steps[0]["use_regex"]:
            return "gpt-2"
        case ["Digits", "ByteLevel"] if steps[0]["individual_digits"] and steps[1]["use_regex"]:
            return "smollm"
        case ["Split", "ByteLevel"] if steps[0]["behavior"] == "Isolated" and not steps[1]["use_regex"]:
            return _KNOWN_SPLITS.get(steps[0]["pattern"].get("Regex", ""))
    return None
