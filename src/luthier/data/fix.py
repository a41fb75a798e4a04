"""Put files right: take out what is broken, repeated or leaked, repair texts; a plan first, then its execution.

    survey   every row is read once: what is wrong with it alone, and its identities, on disk
    plan     which rows go and why (one array of numbers), which texts change
    apply    every row is read again, in step with the plan, and written, or put into the sidecar with its reason

Per removed row 21 bytes are in memory, whatever the files' size. Knows nothing of screens.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.finding import SPLIT_WORDS, SPLITS, SplitName
from luthier.data.fix_rows import RawLines, read_repaired
from luthier.data.fix_survey import (
    CODES,
    LEAKS,
    NUM_EXAMPLES,
    REASONS,
    REMOVAL,
    FixedFile,
    FixOptions,
    PlanItem,
    Removals,
    Survey,
)
from luthier.data.inputs import Input, OnBytes, input_paths, open_inputs
from luthier.data.rows import Row, UnreadableRow
from luthier.data.write import WriteRow, container_of, write_rows
from luthier.errors import DataError


@dataclass
class Plan:
    """What will be done. `removals` is sorted by file and number."""

    options: FixOptions
    files: list[FixedFile]
    removals: Removals
    items: list[PlanItem]
    removed_to: Path
    changed_to: Path

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "plan": [item.to_dict() for item in self.items],
            "files": [file.to_dict() for file in self.files],
            "removed_to": str(self.removed_to) if len(self.removals) else None,
            "changed_to": str(self.changed_to) if any(item.kind == "change" for item in self.items) else None,
        }


def plan_fix(
    places: Sequence[str | Path],
    out: str | Path,
    *,
    valid: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    options: FixOptions | None = None,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    on_bytes: OnBytes | None = None,
) -> Plan:
    """Read everything once and say what is to be done; nothing is written.

    `out` is a file for one training file, held against `valid` and `test`, which stay as they are; or a folder
    for all files. Raises DataError: a place that names no file, an `out` that does not fit the files.
    """
    options = options or FixOptions()
    if options.near_duplicates and options.keep == "last":
        raise DataError(
            "of near-duplicates the first row is kept; leave out --keep last, or --near-duplicates"
        )
    files = _open({"train": places, "valid": valid, "test": test}, out, options, format, fields)
    with tempfile.TemporaryDirectory(prefix="luthier-fix-") as folder:
        survey = Survey(files, options, Path(folder))
        survey.read(on_bytes)
        removals = _first_reasons(list(survey.removals()))
    items = [*_removal_items(files, removals), *survey.changes.values()]
    beside = Path(str(out).rstrip("/"))
    removed_to, changed_to = (
        beside.with_name(f"{beside.name}.{what}.jsonl") for what in ("removed", "changed")
    )
    return Plan(options, files, removals, items, removed_to, changed_to)


def _open(
    places: Mapping[SplitName, Sequence[str | Path]],
    out: str | Path,
    options: FixOptions,
    format: str | None,
    fields: Mapping[str, str] | None,
) -> list[FixedFile]:
    files: list[FixedFile] = []
    for split in SPLITS:
        inputs = open_inputs(places[split], format=format, fields=fields, first_index=len(files))
        files += [FixedFile(split, one, None) for one in inputs]
    if _is_folder(out):
        for file in files:
            file.out = Path(out) / _name_in_folder(file.source)
        _refuse_equal_names(files)
    else:
        if sum(file.split == "train" for file in files) > 1:
            raise DataError(f"{out}: several files are fixed into a folder; name one, such as --out fixed/")
        if options.leaks_from == "valid":
            raise DataError(
                f"{out}: to take leaks out of validation and test rows, all files are written, into a folder; "
                "name one, such as --out fixed/"
            )
        files[0].out = Path(out)
    return files


def _is_folder(out: str | Path) -> bool:
    if str(out).endswith("/") or Path(out).is_dir():
        return True
    try:
        container_of(Path(out))
    except DataError:
        return not Path(out).suffix
    return False


def _name_in_folder(one: Input) -> str:
    """The file's own name where that says how it is read, else the name with `.jsonl`."""
    name = one.path.name
    try:
        fits = container_of(Path(name)) == (one.source.kind, one.source.compression)
    except DataError:
        fits = False
    return name if fits else f"{name}.jsonl"


def _refuse_equal_names(files: Sequence[FixedFile]) -> None:
    seen: dict[Path, str] = {}
    for file in files:
        assert file.out is not None
        if file.out in seen:
            raise DataError(
                f"{file.out}: both {seen[file.out]} and {file.source.source.place} would be written there; "
                "fix them one by one"
            )
        seen[file.out] = file.source.source.place


def _first_reasons(removals: Sequence[Removals]) -> Removals:
    """Each row once, with the first of its reasons, by file and number."""
    every = np.concatenate([np.empty(0, REMOVAL), *removals])
    every = every[~_near_to_a_leak(every)]
    every = every[np.lexsort((every["reason"], every["number"], every["file"]))]
    again = (every["file"][1:] == every["file"][:-1]) & (every["number"][1:] == every["number"][:-1])
    return every[np.concatenate(([True], ~again))] if len(every) else every


def _near_to_a_leak(removals: Removals) -> NDArray[np.bool_]:
    """Rows that nearly say what a leaked row says: it goes, so they stay."""
    is_near = removals["reason"] == CODES["near_duplicate"]
    leaked = removals[np.isin(removals["reason"], [CODES[name] for name in LEAKS])]
    of = removals["of_file"].astype(np.uint64) << np.uint64(48) | removals["of_number"]
    gone = leaked["file"].astype(np.uint64) << np.uint64(48) | leaked["number"]
    mask: NDArray[np.bool_] = is_near & np.isin(of, gone)
    return mask


def _removal_items(files: Sequence[FixedFile], removals: Removals) -> Iterator[PlanItem]:
    split_of = np.array([SPLITS.index(file.split) for file in files])
    for index, file in enumerate(files):
        file.num_removed = int((removals["file"] == index).sum())
    splits = split_of[removals["file"]] if len(removals) else np.empty(0, int)
    for number, split in enumerate(SPLITS):
        for name, code in CODES.items():
            found = removals[(splits == number) & (removals["reason"] == code)]
            if len(found):
                examples = [_example(files, one) for one in found[:NUM_EXAMPLES]]
                yield PlanItem("remove", name, split, len(found), examples)


def _example(files: Sequence[FixedFile], removal: np.void) -> str:
    place = files[removal["file"]].place(int(removal["number"]))
    of = _repeats(files, removal)
    return place if of is None else f"{place} as {of}"


def _repeats(files: Sequence[FixedFile], removal: np.void) -> str | None:
    if removal["of_number"] == 0:
        return None
    file: FixedFile = files[removal["of_file"]]
    return file.place(int(removal["of_number"]))


def apply_fix(plan: Plan, *, force: bool = False, on_bytes: OnBytes | None = None) -> None:
    """Write every file of the plan, `<out>.removed.jsonl` and `<out>.changed.jsonl` where there is something to tell.

    Raises DataError: nothing would be left of a split, an output exists (without `force`) or is an input.
    """
    _refuse_empty(plan)
    inputs = [path for file in plan.files for path in input_paths([file.source])]
    with contextlib.ExitStack() as stack:
        told = plan.to_dict()
        sidecars: list[WriteRow | None] = []
        for path, name in ((plan.removed_to, "removed_to"), (plan.changed_to, "changed_to")):
            wanted = told[name] is not None
            sidecars.append(
                stack.enter_context(write_rows(path, force=force, inputs=inputs)) if wanted else None
            )
        removed, changed = sidecars
        for index, file in enumerate(plan.files):
            if file.out is None:
                continue
            mine = plan.removals[plan.removals["file"] == index]
            with write_rows(file.out, force=force, inputs=inputs) as write:
                _write_file(plan, file, mine, write, removed, changed, on_bytes)


def _write_file(
    plan: Plan,
    file: FixedFile,
    removals: Removals,
    write: WriteRow,
    removed: WriteRow | None,
    changed: WriteRow | None,
    on_bytes: OnBytes | None,
) -> None:
    """One file, read again in step with the rows that go."""
    names, raw, at = list(REASONS), RawLines(file.source.source), 0
    for one in read_repaired(file.source, file.split, encoding=plan.options.encoding, on_bytes=on_bytes):
        row = one.row
        told = {"file": row.file, "number": row.number, "split": file.split}
        if at < len(removals) and row.number == removals[at]["number"]:
            assert removed is not None
            reason = {"reason": names[removals[at]["reason"]], "repeats": _repeats(plan.files, removals[at])}
            is_row = isinstance(row, Row)
            held = {"row": one.before if is_row else None, "raw": None if is_row else raw.at(row.number)}
            removed({**told, **reason, "problem": one.checked.problem, **held})
            at += 1
        elif isinstance(row, UnreadableRow):
            raise DataError(
                f"{row.problem}\n  It can only be left out: fix broken rows too, without --no-broken"
            )
        else:
            write(row.value)
            if one.changes and changed is not None:
                file.num_changed += 1
                changed({**told, "reasons": list(one.changes), "row": one.before})
    if at < len(removals):
        raise DataError(
            f"{file.source.source.place}: the file has changed since the plan was made; run again"
        )


def _refuse_empty(plan: Plan) -> None:
    for split in SPLITS:
        files = [file for file in plan.files if file.split == split and file.out is not None]
        if files and all(file.num_rows == file.num_removed for file in files):
            why = ", ".join(
                f"{i.count:,} {i.name}" for i in plan.items if i.kind == "remove" and i.split == split
            )
            raise DataError(
                f"nothing would be left of the {SPLIT_WORDS[split]} rows ({why}); nothing was written. Where all of "
                "them are leaks, take them from the other side with --leaks-from, or split the rows again"
            )
