"""From what a person named to files: a file, a folder, a glob, a URL, a set of the hub.

Knows nothing of reading rows.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from luthier.data.places import is_dataset_place, resolve_place
from luthier.data.sources.hub import is_hub_id
from luthier.data.sources.kinds import ENDINGS, KINDS, ending_of, has_ending, recognise_file_kind
from luthier.data.sources.remote import is_remote, list_remote
from luthier.data.sources.source import SourceFile
from luthier.errors import DataError

_BESIDE_ARROW = frozenset({"dataset_info.json", "state.json", "dataset_dict.json"})  # `datasets` writes them


def find_files(
    place: str | Path, *, kind: str | None = None, repair_encoding: bool = False
) -> list[SourceFile]:
    """The files that a person named, in a stable order, each with its kind.

    place: a file; a folder, read with its folders; a glob (`data/**/*.jsonl`); `s3://`, `gs://`, `hf://`,
    `https://`; a set of the hub (`org/name`, `org/name:split`, `hub:name`), where no such path exists here; a
    dataset version (`dataset:NAME[@ID][/SPLIT]`).
    kind: one of KINDS, for files that do not say it themselves.
    Raises DataError where there is no file, or one that cannot be opened or is of an unknown kind.
    """
    name = str(place)
    if kind is not None and kind not in KINDS:
        raise DataError(f"unknown kind of file {kind!r}; expected one of {', '.join(KINDS)}")

    def found(one: str, named: bool = True) -> SourceFile:
        return recognise_file_kind(one, kind=kind, repair_encoding=repair_encoding, named=named)

    if is_dataset_place(name):
        return [found(str(path)) for path in resolve_place(name)]
    if is_remote(name):
        places, named = list_remote(name)
        return [found(one) for one in places] if named else _all(name, places, found)
    if "\0" in name:
        raise DataError(f"no such data file: {name!r}")
    if os.path.isdir(name):
        return _all(name, _walk(name), found)
    if not os.path.lexists(name):
        if any(c in name for c in "*?["):
            matches = [one for one in glob.glob(name, recursive=True) if os.path.isfile(one)]
            if not matches:
                raise DataError(f"{name}: no file matches")
            return _all(name, sorted(matches), found, by_glob=True)
        if _is_hub_id(name):
            return [SourceFile(name, "hub", how="by its name: a set of the hub")]
    return [found(name)]


def find_all(
    places: Iterable[str | Path], *, kind: str | None = None, repair_encoding: bool = False
) -> list[SourceFile]:
    """The files of several places. Raises DataError as `find_files`, and where one file was named twice."""
    files: list[SourceFile] = []
    named: dict[str, str] = {}
    for place in places:
        for file in find_files(place, kind=kind, repair_encoding=repair_encoding):
            local = file.kind != "hub" and not is_remote(file.place)
            identity = os.path.realpath(file.place) if local else file.place
            if identity in named:
                raise DataError(
                    f"{file.place} was named twice (as {named[identity]} and as {place}); name it once, or its rows "
                    "count twice"
                )
            named[identity] = str(place)
            files.append(file)
    return files


def _all(
    place: str, candidates: Iterable[str], found: Callable[[str, bool], SourceFile], by_glob: bool = False
) -> list[SourceFile]:
    """Those of many files that hold rows; names that say otherwise, and texts without an ending, are passed over."""
    files: list[SourceFile] = []
    for one in candidates:
        if ending_of(one) is None and has_ending(one):
            continue
        try:
            files.append(found(one, by_glob))
        except DataError:
            if ending_of(one) is not None and not one.lower().endswith(".txt"):
                raise
    if not files:
        raise DataError(
            f"{place}: no data file there; files are read with the endings "
            f"{', '.join('.' + name for name in ENDINGS)}, each also .gz and .zst"
        )
    return files


def _walk(folder: str) -> Iterator[str]:
    """Every file under a folder in a stable order, hidden ones and what libraries keep beside their files left out."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        arrow = any(ending_of(name) == "arrow" for name in names)
        for name in sorted(names):
            hidden = name.startswith(".") or (name.startswith("_") and not has_ending(name))
            if not hidden and not (arrow and name in _BESIDE_ARROW):
                yield os.path.join(at, name)


def _is_hub_id(name: str) -> bool:
    """Whether a name that is no path here is a set of the hub, rather than a file that was misspelt."""
    if name.startswith("hub:"):
        return True
    return is_hub_id(name) and ending_of(name) is None and not os.path.isdir(name.partition("/")[0])
