"""Which weights a name stands for. Knows nothing of what they are used for."""

from pathlib import Path

from luthier.hashing import hash_file, hash_json
from luthier.models.load import find_model


def model_hash(ref: str) -> str:
    """The identity of a local model's weights; a hub model is known by its name."""
    source = find_model(ref)
    folder = source.adapter or Path(source.base)
    if not folder.is_dir():
        return source.base
    return hash_json({file.name: hash_file(file) for file in sorted(folder.glob("*.safetensors"))})
