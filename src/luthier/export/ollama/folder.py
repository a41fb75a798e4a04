"""A folder for `ollama create`: weights, Modelfile, and the same as one JSON request for `luthier ollama push`.

A Modelfile is read rune by rune: runes that Go does not print are dropped, and a quoted value ends at a line that ends
with three quotes. A system prompt that would not come back byte for byte is refused there, and may still be pushed.
Format: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx. Knows nothing of servers.
"""

import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.errors import ExportError
from luthier.export.ollama.pattern import Pattern, learn_pattern
from luthier.export.shipment import Shipment
from luthier.files import write_json_atomic, write_text_atomic
from luthier.models.load import load_tokenizer

REQUEST = "create.json"
_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repeat_penalty",
    "max_new_tokens": "num_predict",
    "seed": "seed",
}
_WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")


def write_ollama(shipment: Shipment, merged: Path, folder: Path, variant: str) -> None:
    """`variant`: hf for the safetensors themselves, or a type of GGUF. Raises ExportError."""
    from luthier.export.gguf.write import write_gguf

    tokenizer = load_tokenizer(str(merged))
    request = create_request(shipment, tokenizer)
    folder.mkdir()
    if variant == "hf":
        place = "."
        for path in sorted({path for pattern in _WEIGHTS for path in merged.glob(pattern)}):
            shutil.copyfile(path, folder / path.name)
        files = sorted(path.name for path in folder.iterdir())
    else:
        place, files = "./model.gguf", ["model.gguf"]
        write_gguf(merged, folder / "model.gguf", variant)
    write_text_atomic(folder / "Modelfile", render_modelfile(place, request))
    write_json_atomic(folder / REQUEST, {**request, "files": files})


def create_request(shipment: Shipment, tokenizer: Any) -> dict[str, Any]:
    """What /api/create takes beside the files: template, system, parameters, license."""
    pattern = template_of(tokenizer)
    if shipment.system_prompt and pattern.system_open is None:
        raise ExportError(f"{shipment.name}: it has a system prompt, and its chat template shows none")
    stops = [tokenizer.convert_ids_to_tokens(one) for one in Renderer(tokenizer).stop_ids]
    sampling = {_NAMES[key]: value for key, value in shipment.sampling.items() if key in _NAMES}
    request: dict[str, Any] = {"template": pattern.go_template(), "parameters": {"stop": stops, **sampling}}
    if shipment.system_prompt:
        request["system"] = shipment.system_prompt
    if shipment.licence:
        request["license"] = shipment.licence
    return request


def template_of(tokenizer: Any) -> Pattern:
    """The tokenizer's chat template as a pattern. Raises ExportError where it has none, or is none for Ollama."""
    if not tokenizer.chat_template:
        raise ExportError("the tokenizer has no chat template, so Ollama would have none")
    if "strftime_now" in str(tokenizer.chat_template):
        raise ExportError(
            "this chat template cannot be written for Ollama: it writes today's date in a form of its own. "
            "Take --to gguf"
        )

    def render(messages: Sequence[Message], for_answer: bool) -> str:
        dicts = [message.to_dict() for message in messages]
        text: str = tokenizer.apply_chat_template(dicts, tokenize=False, add_generation_prompt=for_answer)
        return text

    # A prompt that begins with BOS has it added by the runtime (add_bos_token): twice would be once too often.
    return learn_pattern(render, str(tokenizer.bos_token or ""))


def render_modelfile(place: str, request: Mapping[str, Any]) -> str:
    """The Modelfile. Raises ExportError for a text that it cannot hold byte for byte."""
    lines = [f"FROM {place}", f"TEMPLATE {quote(request['template'], 'the template')}"]
    for name, value in request["parameters"].items():
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"PARAMETER {name} {quote(one, name) if isinstance(one, str) else one}")
    if "system" in request:
        lines.append(f"SYSTEM {quote(request['system'], 'the system prompt')}")
    if "license" in request:
        lines.append(f"LICENSE {quote(request['license'], 'the licence')}")
    return "\n".join(lines) + "\n"


def quote(text: str, what: str) -> str:
    """The value in three quotes, as Ollama's parser reads it back."""
    quoted = f'"""{text}"""'
    if read_value(quoted) != text:
        raise ExportError(
            f"a Modelfile cannot hold {what} byte for byte: Ollama drops characters that it cannot print and ends a "
            'value at a line that ends with """. Change the text'
        )
    return quoted


def read_value(quoted: str) -> str | None:
    """What Ollama's parser makes of a quoted value (parser/parser.go); None where it finds no end."""
    kept = ""
    for char in quoted:
        if char in "\r\n" and (done := _unquoted(kept)) is not None:
            return done
        kept += char if char in " \t\r\n" or _prints(char) else ""
    return _unquoted(kept)


def _unquoted(text: str) -> str | None:
    text = text.strip()
    return text[3:-3] if len(text) >= 6 and text.startswith('"""') and text.endswith('"""') else None


def _prints(char: str) -> bool:
    """Go's strconv.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space."""
    return unicodedata.category(char)[0] in "LMNPS"
