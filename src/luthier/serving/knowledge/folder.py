"""A base of knowledge on the disk.

    knowledge.json               which documents there are, how they were cut, which index is theirs
    documents/ID.json            the pieces of a document; ID is the hash of its text and of how it was cut
    documents/ID.safetensors     how often each term stands in each piece, and vectors of meaning where they were made
    index-ID.safetensors         all documents' terms, for the search

Everything but `knowledge.json` is written once under a name of its own, and that last, by renaming: who reads meets the
old state or the new one, whole. Knows nothing of questions.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.chunks import Chunk, ChunkSizes
from luthier.errors import ConfigError, ServingError
from luthier.files import atomic_path, write_json_atomic
from luthier.hashing import hash_json, short_id
from luthier.serving.knowledge.bm25 import Counts, Index, build_index

FORMAT = 1
CONTENTS = "knowledge.json"
_COUNTS = ("hash_P", "piece_P", "count_P", "length_C")
_INDEX = ("term_T", "start_T1", "piece_P", "weight_P")


@dataclass(frozen=True, slots=True)
class Document:
    """`name`: as its source is told; `id`: of its text and of how it was cut."""

    name: str
    id: str
    num_pieces: int
    num_words: int
    added: str


@dataclass(frozen=True)
class Contents:
    """What stands in `knowledge.json`. `meaning`: whether pieces have vectors too."""

    sizes: ChunkSizes
    meaning: bool
    documents: tuple[Document, ...]

    @property
    def num_pieces(self) -> int:
        """Of all documents."""
        return sum(one.num_pieces for one in self.documents)

    @property
    def index_name(self) -> str:
        """The index of just these documents in this order."""
        return f"index-{short_id(hash_json([FORMAT, [one.id for one in self.documents]]))}.safetensors"


def is_knowledge(folder: Path) -> bool:
    """Whether a base of knowledge lies here."""
    return (folder / CONTENTS).is_file()


def read_contents(folder: Path) -> Contents:
    """Raises ServingError where there is none, or it cannot be read."""
    try:
        raw = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise ServingError(
                f"{folder}: expected format {FORMAT} of a base of knowledge, found {raw['format']}; add its documents "
                "to a new one"
            )
        documents = tuple(Document(**one) for one in raw["documents"])
        return Contents(ChunkSizes(**raw["sizes"]), bool(raw["meaning"]), documents)
    except FileNotFoundError:
        raise ServingError(
            f"{folder}: no knowledge here; make some: luthier knowledge add DOCS... --to {folder.name}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise ServingError(f"{folder / CONTENTS}: expected a base of knowledge: {error}") from error


def load_index(folder: Path, contents: Contents) -> Index:
    """The index of these documents. Raises ServingError."""
    path = folder / contents.index_name
    arrays = _load(path)
    try:
        return Index(num_pieces=contents.num_pieces, **{name: arrays[name] for name in _INDEX})
    except KeyError as error:
        raise ServingError(f"{path}: expected an index, found no {error}; add a document again") from error


def write_contents(folder: Path, contents: Contents) -> None:
    """The index, then the contents; then what they no longer name is removed."""
    index = build_index(load_counts(folder, one) for one in contents.documents)
    _save(folder / contents.index_name, {name: getattr(index, name) for name in _INDEX})
    raw = {
        "format": FORMAT,
        "sizes": asdict(contents.sizes),
        "meaning": contents.meaning,
        "documents": [asdict(one) for one in contents.documents],
    }
    write_json_atomic(folder / CONTENTS, raw)
    needed = {contents.index_name, *(one.id for one in contents.documents)}
    for path in [*folder.glob("index-*.safetensors"), *(folder / "documents").glob("*")]:
        if path.name not in needed and path.stem not in needed:
            path.unlink(missing_ok=True)


def write_document(
    folder: Path, id: str, pieces: list[Chunk], counts: Counts, vectors: NDArray[np.float32] | None
) -> None:
    """A document's files; nobody reads them before the contents name them."""
    arrays = {name: getattr(counts, name) for name in _COUNTS}
    _save(_document(folder, id), arrays | ({} if vectors is None else {"vectors": vectors}))
    write_json_atomic(_document(folder, id).with_suffix(".json"), [asdict(piece) for piece in pieces])


def has_document(folder: Path, id: str) -> bool:
    """Whether its files are there, from now or from before."""
    return _document(folder, id).is_file() and _document(folder, id).with_suffix(".json").is_file()


def load_pieces(folder: Path, document: Document) -> list[Chunk]:
    """A document's pieces. Raises ServingError."""
    path = _document(folder, document.id).with_suffix(".json")
    try:
        pieces = [Chunk(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ServingError(_damaged(path, document, error)) from error
    if len(pieces) != document.num_pieces:
        raise ServingError(_damaged(path, document, f"{len(pieces)} pieces, expected {document.num_pieces}"))
    return pieces


def load_counts(folder: Path, document: Document) -> Counts:
    """A document's terms. Raises ServingError."""
    arrays = _load(_document(folder, document.id))
    try:
        return Counts(**{name: arrays[name] for name in _COUNTS})
    except KeyError as error:
        raise ServingError(_damaged(_document(folder, document.id), document, error)) from error


def load_vectors(folder: Path, contents: Contents) -> NDArray[np.float32]:
    """(pieces, width) of all documents. Raises ServingError."""
    if not contents.documents:
        return np.zeros((0, 1), np.float32)
    try:
        return np.concatenate([_load(_document(folder, one.id))["vectors"] for one in contents.documents])
    except (KeyError, ValueError) as error:
        raise ServingError(f"{folder}: expected a vector of every piece; add the documents again") from error


def _document(folder: Path, id: str) -> Path:
    return folder / "documents" / f"{id}.safetensors"


def _damaged(path: Path, document: Document, why: object) -> str:
    return f"{path}: damaged ({why}); remove {document.name} and add it again"


def _load(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, NDArray[Any]] = load_file(path)
        return found
    except (OSError, SafetensorError) as error:
        raise ServingError(f"{path}: damaged or gone ({error}); add the documents again") from error


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save_file

    if path.exists():
        return
    with atomic_path(path) as beside:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, beside)
