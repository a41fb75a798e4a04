"""Documents into a base of knowledge and out of it: all that are named, or none.

Only what is new is cut and counted; the index is joined from the counts. Two changes at once wait for each other. Knows
nothing of questions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from luthier.chunks import ENDINGS, Chunk, ChunkSizes, chunk_text, read_document
from luthier.errors import ConfigError, DataError, ServingError
from luthier.files import locked
from luthier.hashing import hash_json
from luthier.serving.knowledge.base import Embed
from luthier.serving.knowledge.bm25 import count
from luthier.serving.knowledge.folder import (
    FORMAT,
    Contents,
    Document,
    has_document,
    is_knowledge,
    read_contents,
    write_contents,
    write_document,
)

_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a document; `same as another` is not kept twice."""

    name: str
    word: Literal["added", "replaced", "unchanged", "same as another"]
    num_pieces: int


def documents_at(places: Sequence[Path]) -> list[Path]:
    """Files as they are named, and of folders all text documents below them, by name; hidden ones are passed over.

    Raises DataError where a place is not there, or a folder holds none.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = [path for path in sorted(place.rglob("*")) if _is_document(path, place)]
            if not inside:
                raise DataError(f"{place}: expected text documents ({', '.join(ENDINGS)}), found none")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise DataError(f"{place}: no such document")
    return list(dict.fromkeys(found))


def _is_document(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and path.suffix.lower() in ENDINGS and not hidden


def add(
    folder: Path,
    paths: Sequence[Path],
    *,
    sizes: ChunkSizes | None = None,
    embed: Embed | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Change]:
    """Read documents into the base, which is made where it is none; a document of a name that it has is replaced.

    sizes and embed: of a new base; to an old one, pieces are added as its others were made. Raises DataError where one
    of the documents cannot be read, ConfigError where an old base is asked for other sizes, or has vectors and no
    `embed` is given.
    """
    read = [_read(path) for path in paths]
    with locked(folder / ".lock"):
        contents = _for_adding(folder, sizes, embed)
        documents = {one.name: one for one in contents.documents}
        changes = []
        for done, (name, text, ending) in enumerate(read, start=1):
            pieces = chunk_text(text, ending, contents.sizes)
            if not pieces:
                raise DataError(f"{name}: expected a document with words in it, found none")
            made = _document(name, text, ending, contents, pieces)
            change = _change(documents, made)
            if change.word in ("added", "replaced"):
                _keep(folder, made, pieces, embed if contents.meaning else None)
                documents[name] = made
            changes.append(change)
            on_progress(done)
        write_contents(folder, replace(contents, documents=tuple(documents.values())))
    return changes


def _read(path: Path) -> tuple[str, str, str]:
    return path.as_posix(), read_document(path), path.suffix.lower()


def _for_adding(folder: Path, sizes: ChunkSizes | None, embed: Embed | None) -> Contents:
    if not is_knowledge(folder):
        return Contents(sizes or ChunkSizes(), embed is not None, ())
    contents = read_contents(folder)
    if sizes is not None and sizes != contents.sizes:
        has = contents.sizes
        raise ConfigError(
            f"{folder}: its pieces have {has.max_words} words with {has.overlap_words} of overlap, asked for "
            f"are {sizes.max_words} and {sizes.overlap_words}; make another base for those"
        )
    if contents.meaning and embed is None:
        raise ConfigError(f"{folder}: its pieces have vectors of meaning; expected an embedder for new ones")
    if embed is not None and not contents.meaning:
        raise ConfigError(
            f"{folder}: its pieces have no vectors of meaning; make another base with --meaning"
        )
    return contents


def _document(name: str, text: str, ending: str, contents: Contents, pieces: list[Chunk]) -> Document:
    sizes = contents.sizes
    cut = [FORMAT, text, ending, sizes.max_words, sizes.overlap_words, contents.meaning]
    id = hash_json(cut).removeprefix("sha256:")[:_ID_DIGITS]
    num_words = sum(len(piece.text.split()) for piece in pieces)
    return Document(name, id, len(pieces), num_words, datetime.now(UTC).isoformat(timespec="seconds"))


def _change(documents: dict[str, Document], made: Document) -> Change:
    before = documents.get(made.name)
    if before is not None and before.id == made.id:
        return Change(made.name, "unchanged", made.num_pieces)
    if any(one.id == made.id for one in documents.values()):
        return Change(made.name, "same as another", made.num_pieces)
    return Change(made.name, "added" if before is None else "replaced", made.num_pieces)


def _keep(folder: Path, document: Document, pieces: list[Chunk], embed: Embed | None) -> None:
    if has_document(folder, document.id):
        return
    texts = [searched(piece) for piece in pieces]
    vectors = embed(texts) if embed is not None else None
    write_document(folder, document.id, pieces, count(texts), vectors)


def searched(piece: Chunk) -> str:
    """What a piece is found by: its words, and the headings above it."""
    return f"{piece.heading}\n{piece.text}" if piece.heading else piece.text


def remove(folder: Path, names: Sequence[str]) -> int:
    """Take documents out; how many pieces that were. Raises ServingError where one is not in the base."""
    with locked(folder / ".lock"):
        contents = read_contents(folder)
        known = {one.name: one for one in contents.documents}
        for name in names:
            if name not in known:
                raise ServingError(
                    f"{folder.name}: expected one of its documents, got {name!r}; it has {_listed(list(known))}"
                )
        kept = tuple(one for one in contents.documents if one.name not in names)
        write_contents(folder, replace(contents, documents=kept))
    return sum(known[name].num_pieces for name in set(names))


_LISTED = 10


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more if names else "none"


def bases_in(root: Path) -> Iterator[Path]:
    """The bases in a folder, by name."""
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if is_knowledge(path))
