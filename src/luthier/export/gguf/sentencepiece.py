"""A tokenizer.json of SentencePiece's kind (BPE over characters, spaces as U+2581) as `tokenizer.*` keys.

llama.cpp holds no merges for it: it joins the neighbours whose piece has the greatest score. So the order of the merges
becomes scores, where that order says the same; where it does not, the tokenizer is refused.
This file knows nothing of special tokens' roles or of templates.
"""

from typing import Any

from luthier.errors import ExportError

SPACE = "\u2581"
UNKNOWN, BYTE = 2, 6
"""Token types of the GGUF specification that byte-level BPE does not have."""

_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


def is_sentencepiece(backend: dict[str, Any]) -> bool:
    """Whether unknown characters fall back to bytes, and spaces are a character."""
    return backend["model"]["type"] == "BPE" and bool(backend["model"].get("byte_fallback"))


def prepends_space(backend: dict[str, Any]) -> str:
    """Where a space is put before a text: `never`, at the `first` piece of it, or `always` (after a control token too).

    Raises ExportError for another way of treating spaces than those of Llama 2, Mistral, Phi-3 and Gemma.
    """
    steps = _parts(backend.get("normalizer"), "normalizers")
    splits = _parts(backend.get("pre_tokenizer"), "pretokenizers")
    kinds = [step["type"] for step in steps], [step["type"] for step in splits]
    if kinds == ([], ["Metaspace"]) and splits[0]["replacement"] == SPACE:
        if splits[0].get("split", True) and _crosses_words(backend):
            raise ExportError(
                "GGUF: this tokenizer splits words and has pieces that cross them; llama.cpp would join"
            )
        return str(splits[0]["prepend_scheme"])
    if kinds[0] == ["Prepend", "Replace"] and not kinds[1] and steps[0]["prepend"] == SPACE:
        return "always"
    # Gemma's Split on a space comes after there are none left.
    if kinds[0] == ["Replace"] and (not kinds[1] or (kinds[1] == ["Split"] and _splits_on_space(splits[0]))):
        return "never"
    raise ExportError(
        f"GGUF: a SentencePiece tokenizer that normalises with {kinds[0] or 'nothing'} and splits with "
        f"{kinds[1] or 'nothing'} is not covered. Export the model as hf instead"
    )


def scores_and_types(backend: dict[str, Any]) -> tuple[dict[str, float], dict[str, int]]:
    """Score of every piece, greatest first joined; and the types of pieces that are not ordinary ones.

    Raises ExportError where merges are in an order that no scores give, or a byte has no piece.
    """
    vocabulary: dict[str, int] = backend["model"]["vocab"]
    if missing := _BYTES - set(vocabulary):
        raise ExportError(
            f"GGUF: the tokenizer has no piece for {len(missing)} bytes, the first is {min(missing)}"
        )
    pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in backend["model"]["merges"]]
    order = dict.fromkeys(left + right for left, right in pairs)
    _refuse_other_orders(vocabulary, pairs, list(order))
    scores = dict.fromkeys(vocabulary, -1e6) | {piece: -float(i) for i, piece in enumerate(order)}
    types = dict.fromkeys(_BYTES, BYTE)
    unknown = backend["model"].get("unk_token")
    return scores, types | ({unknown: UNKNOWN} if unknown else {})


def _refuse_other_orders(vocabulary: dict[str, int], pairs: list[tuple[str, ...]], order: list[str]) -> None:
    """The merges of one piece must follow each other, and every way to make a piece must be among them."""
    made = [left + right for left, right in pairs]
    if [piece for i, piece in enumerate(made) if i == 0 or made[i - 1] != piece] != order:
        raise ExportError(
            "GGUF: the merges of one piece do not follow each other, so no score stands for their order"
        )
    known = set(pairs)
    reachable = {*order, *(piece for piece in vocabulary if len(piece) == 1)}
    for piece in vocabulary:
        for at in range(1, len(piece)):
            pair = piece[:at], piece[at:]
            if pair not in known and set(pair) <= reachable:
                raise ExportError(
                    f"GGUF: llama.cpp would join {pair[0]!r} and {pair[1]!r}, this tokenizer does not: it was trained "
                    "with merges and not with scores. Export the model as hf instead"
                )


def _crosses_words(backend: dict[str, Any]) -> bool:
    return any(SPACE in piece[1:] for piece in backend["model"]["vocab"] if piece.strip(SPACE))


def _splits_on_space(step: dict[str, Any]) -> bool:
    return bool(step["pattern"] == {"String": " "})


def _parts(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return list(step[key]) if step["type"] == "Sequence" else [step]
