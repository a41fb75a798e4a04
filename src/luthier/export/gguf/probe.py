"""Tokenise by llama.cpp under keys that are not in a model's file yet: a file of keys alone, loaded and thrown away.

This file knows nothing of which keys are right.
"""

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from luthier.export.gguf.file import write_file
from luthier.export.gguf.tokenizer import Tokenise
from luthier.models.gguf import GgufVocabulary


def keys_tokeniser() -> Tokenise | None:
    """llama.cpp's tokenisation under some `tokenizer.*` keys; None where llama-cpp-python is not installed."""
    return _tokenise if find_spec("llama_cpp") is not None else None


def _tokenise(keys: dict[str, Any], texts: Sequence[str]) -> list[list[int]]:
    # llama.cpp asks every file for an architecture, a vocabulary alone too.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_file(path, "llama", keys, [], lambda plan: ())
        with GgufVocabulary(path) as vocabulary:
            return [vocabulary.tokenize(text) for text in texts]
