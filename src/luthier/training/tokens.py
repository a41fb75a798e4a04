"""The rows of a run as tokens: taken from the store where the same files were rendered before, else rendered and kept.

The same means: the bytes of the files, the parts of the recipe that rows follow from, tokenizer and template, and the
program itself. Knows nothing of models, steps or runs.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import luthier
from luthier.chat.render import Renderer
from luthier.data.dataset import TokenDataset
from luthier.data.token_store import TokenStore
from luthier.hashing import hash_text
from luthier.training.manifest import DataFile
from luthier.training.objectives import Objective
from luthier.training.recipe import Recipe
from luthier.training.rows import read_datasets

_WORTH_KEEPING = 1 << 19  # tokens: fewer are rendered within a second
_ROOMS = ("chat", "data", "training")


@dataclass(frozen=True)
class Tokens:
    """Training rows, validation rows or None, how many rows each file has, and a word on the store, or None."""

    train: TokenDataset
    validation: TokenDataset | None
    num_rows: Mapping[str, int]
    said: str | None = None


def read_tokens(
    recipe: Recipe,
    files: Sequence[DataFile],
    objective: Objective,
    renderer: Renderer,
    tokenizer: Any,
    store: TokenStore,
) -> Tokens:
    """The rows of `files`, which are those of the recipe. Raises what `read_datasets` raises."""
    identity = _identity(recipe, files, renderer, tokenizer)
    if identity is not None and (kept := store.find(identity)) is not None:
        said = f"rows of tokens: read from {store.root} ({kept.num_bytes / 1e6:,.0f} MB)"
        return Tokens(kept.datasets["train"], kept.datasets.get("validation"), kept.facts["rows"], said)
    num_rows: dict[str, int] = {}
    train, validation = read_datasets(recipe, objective, renderer, tokenizer, num_rows.__setitem__)
    tokens = train.num_tokens + (validation.num_tokens if validation is not None else 0)
    if identity is None or tokens < _WORTH_KEEPING:
        return Tokens(train, validation, num_rows)
    datasets = {"train": train} | ({} if validation is None else {"validation": validation})
    try:
        num_bytes = store.keep(identity, datasets, {"rows": num_rows, "files": [one.place for one in files]})
        said = f"rows of tokens: kept in {store.root} ({num_bytes / 1e6:,.0f} MB) for the next run of these files"
    except OSError as error:  # the run has its rows; the next one renders them again
        said = f"rows of tokens: not kept in {store.root}: {error.strerror or error}"
    return Tokens(train, validation, num_rows, said)


def _identity(
    recipe: Recipe, files: Sequence[DataFile], renderer: Renderer, tokenizer: Any
) -> dict[str, Any] | None:
    """All that rows follow from, as JSON; None for a tokenizer that cannot be told from another."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    import tokenizers
    import transformers

    return {
        "files": [[one.role, one.place, one.sha256] for one in files],
        "data": recipe.data.model_dump(mode="json"),
        "objective": recipe.objective.model_dump(mode="json"),
        "stops early": recipe.evaluation.patience > 0,  # refused where nothing is held out
        "tokenizer": hash_text(backend.to_str()),
        "special tokens": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "template": renderer.template_hash,
        "versions": [luthier.__version__, tokenizers.__version__, transformers.__version__, _program()],
    }


@functools.cache
def _program() -> str:
    """The rooms that make rows of files: a mended renderer must not find what the broken one kept."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((Path(luthier.__file__).parent / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
