"""Chat templates of the common families, in our own words, with the tokens each needs.

They serve fresh models (luthier-nano ships `chatml`) and the tests of the token path; a model that
brings its own template keeps it. The Jinja text lies in `families/NAME.jinja`.
Knows nothing of tokenizers: whoever builds one adds the tokens named here.
"""

import difflib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from luthier.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Family:
    """One template and the tokens it is written with.

    `control_tokens` are special tokens (bos, eos and end of turn among them); `plain_tokens` are added
    tokens that are part of what the model says, so not special: `<think>`, `<tool_call>`.
    """

    name: str
    control_tokens: tuple[str, ...]
    end_of_turn: str
    eos: str
    bos: str | None = None
    plain_tokens: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """The Jinja text, ready for `tokenizer.chat_template`."""
        return _read(self.name)


_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_INST = ("<s>", "</s>", "[INST]", "[/INST]")
_FOLD = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
_STRICT = ("<s>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")
_MARKUP = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("chatml", _CHATML, end_of_turn="<|im_end|>", eos="<|endoftext|>"),
        Family("chatml_marked", _CHATML, end_of_turn="<|im_end|>", eos="<|endoftext|>"),
        Family("thinking", _CHATML, end_of_turn="<|im_end|>", eos="<|endoftext|>", plain_tokens=_MARKUP),
        Family("llama3", _LLAMA3, end_of_turn="<|eot_id|>", eos="<|end_of_text|>", bos="<|begin_of_text|>"),
        Family("inst", _INST, end_of_turn="</s>", eos="</s>", bos="<s>"),
        Family("fold", _FOLD, end_of_turn="<end_of_turn>", eos="<eos>", bos="<bos>"),
        Family("strict", _STRICT, end_of_turn="<|end|>", eos="<|endoftext|>", bos="<s>"),
    )
}


def load_family(name: str) -> Family:
    """The family of that name. Raises TemplateError naming the nearest one if there is none."""
    if name in FAMILIES:
        return FAMILIES[name]
    near = difflib.get_close_matches(name, FAMILIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(FAMILIES)}"
    raise TemplateError(f"no template family {name!r}: {hint}")


@lru_cache
def _read(name: str) -> str:
    return (files("luthier.chat") / "families" / f"{name}.jinja").read_text(encoding="utf-8")
