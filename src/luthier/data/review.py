"""What a person thought of rows: a record that grows by a line with every verdict, and what follows from it.

    begin    (file, seed, size of the sample, rows of the file)
    verdict  (row, accepted | rejected | edited | skipped, note, the row as edited)

A line is on the disk before the next row is shown, and a line that was cut off by a crash is left out. The last verdict
on a row counts. Knows nothing of screens and keys.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from luthier.data.inputs import open_inputs
from luthier.data.rows import Row
from luthier.data.sample import Sample, SampledRow
from luthier.data.write import check_output, write_rows
from luthier.errors import DataError
from luthier.hashing import hash_json

Verdict = Literal["accepted", "rejected", "edited", "skipped"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Judged:
    """The last verdict on a row. `edited` is the row as it should be, for the verdict of that name."""

    file: str
    number: int
    row_id: str
    verdict: Verdict
    edited: Mapping[str, Any] | None = None
    note: str | None = None


@dataclass(frozen=True)
class Summary:
    """How many of how many were read, and what share of the whole file that makes bad (rejected or edited).

    share, low, high: the share of bad rows among those read, and its 95% Wilson interval (Wilson 1927); where all
    rows of the file were read there is nothing to estimate. None where nothing was read.
    """

    num_sampled: int
    num_rows: int
    counts: Mapping[Verdict, int]
    share: float | None
    low: float | None
    high: float | None

    @property
    def num_read(self) -> int:
        return sum(self.counts[verdict] for verdict in VERDICTS if verdict != "skipped")

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        counts: dict[str, Any] = {verdict: self.counts[verdict] for verdict in VERDICTS}
        bad = {"share": self.share, "low": self.low, "high": self.high}
        read = {"sampled": self.num_sampled, "rows": self.num_rows, "read": self.num_read}
        return {**read, **counts, "bad": bad}


@dataclass
class Review:
    """An open record. Every change is appended to the file and flushed to the disk at once."""

    path: Path
    begun: dict[str, Any] | None = None
    judged: dict[tuple[str, int, str], Judged] = field(default_factory=dict)

    def begin(self, file: str, sample: Sample) -> None:
        """Say what is reviewed. A record of the same seed goes on; the sample may have grown.

        Raises DataError where the record is of another file or seed.
        """
        begun = {
            "kind": "begin", "file": file, "seed": sample.seed, "sampled": len(sample.rows), "rows": sample.num_rows
        }  # fmt: skip
        if self.begun is not None and (self.begun["file"], self.begun["seed"]) != (file, sample.seed):
            raise DataError(
                f"{self.path} is the review of {self.begun['file']} with seed {self.begun['seed']}, not of {file} "
                f"with seed {sample.seed}; name another record with --review, or take its seed"
            )
        known = {key: (self.begun or {}).get(key) for key in begun}
        if known != begun:
            self.begun = begun
            self._append(begun)

    def of(self, sampled: SampledRow) -> Judged | None:
        """The verdict on a row, None where there is none yet."""
        return self.judged.get((sampled.row.file, sampled.row.number, sampled.row_id))

    def judge(
        self,
        sampled: SampledRow,
        verdict: Verdict,
        *,
        edited: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> None:
        """Record a verdict. When this returns, it is on the disk."""
        one = Judged(sampled.row.file, sampled.row.number, sampled.row_id, verdict, edited, note)
        self._append(
            {
                "kind": "verdict",
                "file": one.file,
                "number": one.number,
                "id": one.row_id,
                "verdict": verdict,
                "edited": edited,
                "note": note,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        self.judged[one.file, one.number, one.row_id] = one

    def summary(self) -> Summary:
        """What the record says so far. Raises DataError where it says nothing."""
        if self.begun is None:
            raise DataError(f"{self.path}: an empty review; begin it with luthier data sample FILE")
        counts = {v: sum(one.verdict == v for one in self.judged.values()) for v in VERDICTS}
        num_read = len(self.judged) - counts["skipped"]
        num_bad = counts["rejected"] + counts["edited"]
        num_rows = self.begun["rows"]
        if num_read == 0:
            return Summary(self.begun["sampled"], num_rows, counts, None, None, None)
        share = num_bad / num_read
        low, high = (share, share) if num_read >= num_rows else wilson(num_bad, num_read)
        return Summary(self.begun["sampled"], num_rows, counts, share, low, high)

    def _append(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value).encode("ascii") + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def wilson(num_hits: int, num_trials: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927), which holds near 0 and 1 and for few trials."""
    from scipy.stats import binomtest

    interval = binomtest(num_hits, num_trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def open_review(path: Path, *, must_exist: bool = False) -> Review:
    """Read a record, or begin one. A last line that a crash cut off is removed.

    Raises DataError: no such record, or a file that is none.
    """
    review = Review(path)
    if not path.exists():
        if must_exist:
            raise DataError(f"no such review: {path}; begin it with luthier data sample FILE")
        if not path.parent.is_dir():
            raise DataError(f"{path}: the folder {path.parent} does not exist")
        return review
    _cut_torn_line(path)
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        try:
            _take(review, json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a line of a review: {error!r:.100}") from error
    return review


def _take(review: Review, value: dict[str, Any]) -> None:
    if value["kind"] == "begin":
        if review.begun is not None and value["file"] != review.begun["file"]:
            raise ValueError("a review of two files")
        review.begun = {key: value[key] for key in ("kind", "file", "seed", "sampled", "rows")}
        return
    if value["verdict"] not in VERDICTS:
        raise ValueError(f"unknown verdict {value['verdict']!r}")
    one = Judged(
        value["file"], int(value["number"]), value["id"], value["verdict"], value["edited"], value["note"]
    )
    review.judged[one.file, one.number, one.row_id] = one


def _cut_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
            file.flush()
            os.fsync(file.fileno())


def apply_review(
    places: list[str | Path], review: Review, out: Path, *, force: bool = False
) -> dict[str, int]:
    """Write the files without the rejected rows and with the edited ones; all other rows as they stand.

    Returns {"rows", "rejected", "edited"}. Raises DataError where a judged row is no longer what it was.
    """
    inputs = open_inputs(places)
    verdicts = {(one.file, one.number): one for one in review.judged.values()}
    written = {"rows": 0, "rejected": 0, "edited": 0}
    check_output(out, force=force, inputs=[one.path for one in inputs])
    with write_rows(out, force=force, inputs=[one.path for one in inputs]) as write:
        for row in (row for one in inputs for row, _ in one.good_rows()):
            judged = verdicts.pop((row.file, row.number), None)
            if judged is not None:
                _refuse_changed(row, judged, review.path)
            if judged is not None and judged.verdict == "rejected":
                written["rejected"] += 1
                continue
            edited = judged.edited if judged is not None and judged.verdict == "edited" else None
            written["edited"] += edited is not None
            written["rows"] += 1
            write(row.value if edited is None else edited)
        for missing in _gone(verdicts):
            raise DataError(
                f"{missing}: {review.path} judges this row, but it is no longer there; review again"
            )
    return written


def _gone(verdicts: Mapping[tuple[str, int], Judged]) -> Iterator[str]:
    for (file, number), judged in verdicts.items():
        if judged.verdict in ("rejected", "edited"):
            yield f"{file}:{number}"


def _refuse_changed(row: Row, judged: Judged, path: Path) -> None:
    if hash_json(row.value) != judged.row_id:
        raise DataError(
            f"{row.where}: this row is not the one that {path} judges; the file has changed since. Review it again"
        )
