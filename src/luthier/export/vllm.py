"""The command line that serves a model with vLLM: the adapter over its base, or the merged folder.

Flags: https://docs.vllm.ai/en/stable/cli/serve.html. vLLM itself was not run. Knows nothing of how folders are made.
"""

import math
import shlex
from pathlib import Path

from luthier.export.changes import adapter_config
from luthier.export.shipment import Shipment
from luthier.files import write_text_atomic

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def vllm_command(shipment: Shipment, final: Path) -> list[str]:
    """The words of the command; `final` holds the forms peft or hf."""
    adapter = shipment.source.adapter
    if adapter is None:
        return ["vllm", "serve", str(final / "hf"), "--served-model-name", shipment.name]
    ranks = [
        adapter_config(adapter).get("r") or 16,
        *(adapter_config(adapter).get("rank_pattern") or {}).values(),
    ]
    rank = next((one for one in _RANKS if one >= max(ranks)), 2 ** math.ceil(math.log2(max(ranks))))
    return [
        *("vllm", "serve", shipment.source.base, "--tokenizer", str(final / "peft")),
        *("--chat-template", str(final / "peft" / "chat_template.jinja")),
        *("--enable-lora", "--max-lora-rank", str(rank)),
        *("--lora-modules", f"{shipment.name}={final / 'peft'}"),
    ]


def write_vllm(shipment: Shipment, folder: Path, final: Path) -> None:
    """A shell script with the command; further flags follow it."""
    folder.mkdir()
    words = " ".join(shlex.quote(word) for word in vllm_command(shipment, final.absolute()))
    write_text_atomic(folder / "serve.sh", f'#!/bin/sh\nexec {words} "$@"\n')
    (folder / "serve.sh").chmod(0o755)
