"""`dataset:NAME[@ID][/SPLIT]`: a dataset version wherever a data file can be named.

The one place where such a name becomes files. They are compared with what was committed before anyone reads them.
Knows nothing of rows.
"""

from functools import lru_cache
from pathlib import Path

from luthier.errors import DataError
from luthier.registry.dataset_refs import PREFIX, Ref, parse_ref
from luthier.registry.datasets import Store, Version, damage, default_store, read_version


def is_dataset_place(place: str | Path) -> bool:
    """Whether the place names a version and not a file."""
    return str(place).startswith(PREFIX)


def resolve_place(place: str | Path, split: str | None = None, *, store: Path | None = None) -> list[Path]:
    """The files that a place names: those of a version's split, in the order of their hashes, or the place itself.

    `split` is what the files are for (`train`, `valid`, `test`), where the place does not say it.
    Raises DataError: no such name, version or split; several splits and none named; a file that is no longer
    what was committed.
    """
    if not is_dataset_place(place):
        return [Path(place)]
    ref = parse_ref(str(place))
    version = Store(store or default_store()).find(ref)
    return files_of(version, choose_split(version, ref, split))


def resolve_file(place: str | Path, split: str | None = None, *, store: Path | None = None) -> Path:
    """`resolve_place` where one file is wanted. Raises DataError where the split of the version has several."""
    files = resolve_place(place, split, store=store)
    if len(files) != 1:
        raise DataError(
            f"{place}: expected one file, this split has {len(files)}: {', '.join(one.name for one in files)}"
        )
    return files[0]


def choose_split(version: Version, ref: Ref, split: str | None = None) -> str:
    """The split that is meant: the one in the reference, else `split`, else the only one. Raises DataError."""
    wanted = ref.split or split or (next(iter(version.splits)) if len(version.splits) == 1 else None)
    listed = ", ".join(version.splits)
    if wanted is None:
        raise DataError(
            f"{PREFIX}{ref} has the splits {listed}; name one: {PREFIX}{ref}/{next(iter(version.splits))}"
        )
    if wanted not in version.splits:
        raise DataError(f"{PREFIX}{ref}: {version.ref} has no split {wanted!r}; it has: {listed}")
    return wanted


def files_of(version: Version, split: str) -> list[Path]:
    """The files of a split, each as it was committed. Raises DataError that names one that is not."""
    files = [file.path for file in version.splits[split]]
    _refuse_damage(version.folder, split, tuple(_stamp(path) for path in files))
    return files


def pin_place(place: str, *, store: Path | None = None) -> str:
    """The place with the id of the version that it names now; a file's place as it is.

    A run keeps the pinned name: `dataset:rugby` would be another version tomorrow.
    """
    if not is_dataset_place(place):
        return place
    ref = parse_ref(place)
    version = Store(store or default_store()).find(ref)
    return f"{PREFIX}{version.ref}" + (f"/{ref.split}" if ref.split else "")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: this file of a dataset version cannot be read: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)  # a file that several verbs of one command read is hashed once while its stamp stays
def _refuse_damage(folder: Path, split: str, stamps: tuple[tuple[int, int], ...]) -> None:
    if problems := damage(read_version(folder), [split]):
        raise DataError(
            f"{'; '.join(problems)}. Put the file back from a copy, or commit it as a new version; "
            f"see all: luthier data verify {folder.parent.name}@{folder.name}"
        )
