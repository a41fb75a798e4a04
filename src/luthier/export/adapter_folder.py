"""The adapter alone, as PEFT loads it, with its base named and hashed and its scale said.

Knows nothing of merging.
"""

import shutil
from pathlib import Path

from luthier.errors import ExportError
from luthier.export.changes import adapter_config
from luthier.export.merge import generation_config
from luthier.export.merge_plan import describe_method
from luthier.export.shipment import Shipment
from luthier.files import write_json_atomic
from luthier.models.load import load_tokenizer

FILES = ("adapter_config.json", "adapter_model.safetensors", "rope_scaling.json")


def write_adapter(shipment: Shipment, folder: Path) -> None:
    """Raises ExportError where there is no adapter."""
    adapter = shipment.source.adapter
    if adapter is None:
        raise ExportError(f"{shipment.name} is whole weights, not an adapter: take --to hf")
    folder.mkdir(parents=True)
    for name in FILES:
        if (adapter / name).exists():
            shutil.copyfile(adapter / name, folder / name)
    config = adapter_config(adapter)
    # A merged base and the same adapter of another alpha look alike: so the scale stands in a file of its own too.
    said = {
        "base": shipment.source.base,
        "base_hash": shipment.hashes.get("base"),
        "method": describe_method(shipment.source),
        "rank": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "rslora": bool(config.get("use_rslora")),
    }
    write_json_atomic(folder / "base.json", said)
    tokenizer = load_tokenizer(shipment.source.tokenizer_place)
    tokenizer.save_pretrained(folder)
    generation_config(tokenizer).save_pretrained(folder)
