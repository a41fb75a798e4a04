"""A simulation of the data checks on a cluster: shards scanned apart, scans merged, the ledger shuffled by hash.

    python benchmarks/shards.py [--rows 200k] [--shards 8] [--parts 5] [--cores 16] [--json]

map       each shard is scanned in a process of its own with a scratch folder of its own, as on its own machine
merge     the scans are merged in the order of the shards; the report must be the one of a single process, key by key
shuffle   the ledger is scattered by hash, and each part answered alone in a process of its own; the counts must add up

It is done at two sizes, a quarter of the rows and all: their difference is what a row costs, without what is paid once.
From it follows what 1 TB would take (docs/scale.md says what that leaves out).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from data import parse_size
from luthier.data.checks import CHECKS, check_files
from luthier.data.checks.check import Check, Context
from luthier.data.checks.engine import (
    CheckedFile,
    Piece,
    Scan,
    conclude,
    cut_pieces,
    find_checked_files,
    read_habits,
    scan_pieces,
)
from luthier.data.checks.ledger import RECORD, Ledger, sort_records, starts
from synthetic_rows import Files, Planted, write_rows

TERABYTE = 10**12
MACHINES = (1, 16, 128)


def map_shard(pieces: Sequence[Piece], context: Context, checks: Sequence[type[Check]]) -> tuple[Scan, float]:
    """(the scan of one shard, processor seconds), in this process."""
    started = time.process_time()
    return scan_pieces(pieces, context, checks), time.process_time() - started


def count_copies(part: Path) -> tuple[int, float]:
    """(rows of one part that repeat an earlier one, processor seconds): what one machine of the shuffle does."""
    started = time.process_time()
    records = sort_records(np.fromfile(part, RECORD), "content")
    return len(records) - len(starts(records["content"])), time.process_time() - started


def each_in_its_process(work: Any, *arguments: Sequence[Any]) -> list[Any]:
    """One fresh process after another, none of which knows of the others."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(work, *arguments))


def simulate(files: Files, num_shards: int, num_parts: int) -> dict[str, Any]:
    """Check the files in shards and alone; measured seconds and bytes, and whether all came out the same."""
    places: Any = {"train": [files.train], "valid": [files.valid]}
    checked = find_checked_files(places, None, None, None, False)
    size = files.train.stat().st_size
    pieces = list(cut_pieces(checked, max(1, size // num_shards)))
    with tempfile.TemporaryDirectory(prefix="luthier-shards-") as name:
        folder = Path(name)
        contexts = [
            Context(folder / f"shard-{number}", habits=read_habits(checked)) for number in range(len(pieces))
        ]
        for context in contexts:
            context.scratch.mkdir()
        mapped = each_in_its_process(map_shard, [[one] for one in pieces], contexts, [CHECKS] * len(pieces))
        scratch_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        started = time.process_time()
        whole = merged([scan for scan, _ in mapped], checked)
        report = conclude(checked, whole)
        reduce_seconds = time.process_time() - started
        parts = [part for part in shuffled(whole.ledger, folder, num_parts) if part.exists()]
        reduced = each_in_its_process(count_copies, parts)
    alone = check_files(files.train, files.valid)
    copies = next(
        one.count for one in report.findings if one.name == "duplicate_rows" and one.split == "train"
    )
    rows = sum(file.num_rows for file in report.files)
    return {
        "rows": rows,
        "bytes": size + files.valid.stat().st_size,
        "shards": len(pieces),
        "reports_are_identical": report.to_dict() == alone.to_dict(),
        "copies": copies,
        "copies_by_parts": sum(count for count, _ in reduced),
        "map_seconds": round(sum(seconds for _, seconds in mapped), 3),
        "merge_and_conclude_seconds": round(reduce_seconds, 3),
        "part_seconds": round(sum(seconds for _, seconds in reduced), 4),
        "scratch_bytes_per_row": round(scratch_bytes / rows, 1),
        "ledger_bytes_per_row": RECORD.itemsize,
    }


def measure(rows: int, num_shards: int, num_parts: int) -> dict[str, Any]:
    """`simulate` on files of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="luthier-benchmark-") as folder:
        return simulate(write_rows(Path(folder), Planted.for_rows(rows)), num_shards, num_parts)


def merged(scans: Sequence[Scan], files: Sequence[CheckedFile]) -> Scan:
    """The scans in the order of their shards, as a left fold: any bracketing gives the same."""
    whole, *later = scans
    for scan in later:
        whole.merge(scan)
    return whole


def shuffled(ledger: Ledger, folder: Path, num_parts: int) -> list[Path]:
    """The training records, scattered by the hash of their content."""
    parts = folder / "parts"
    parts.mkdir()
    return ledger.scatter("content", num_parts, parts, ["train"])


def seconds_per_row(small: dict[str, Any], large: dict[str, Any], name: str) -> float:
    return float(large[name] - small[name]) / (large["rows"] - small["rows"])


def terabyte(small: dict[str, Any], large: dict[str, Any], cores: int) -> list[dict[str, Any]]:
    """Hours for 1 TB of rows of the measured size, on 1, 16 and 128 machines, every core as fast as this one."""
    rows = TERABYTE / (large["bytes"] / large["rows"])
    map_seconds = rows * seconds_per_row(small, large, "map_seconds")
    reduce_seconds = rows * seconds_per_row(small, large, "merge_and_conclude_seconds")
    return [
        {
            "machines": machines,
            "map_hours": round(map_seconds / machines / cores / 3600, 2),
            "reduce_hours_on_one_core_each": round(reduce_seconds / machines / 3600, 2),
            "reduce_hours_on_all_cores": round(reduce_seconds / machines / cores / 3600, 2),
            "scratch_gigabytes_a_machine": round(rows * large["scratch_bytes_per_row"] / machines / 1e9, 1),
            "ledger_gigabytes_a_machine": round(rows * large["ledger_bytes_per_row"] / machines / 1e9, 2),
        }
        for machines in MACHINES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="200k")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--cores", type=int, default=16, help="cores of each machine, for the arithmetic")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    small, large = (
        measure(rows, options.shards, options.parts)
        for rows in (parse_size(options.rows) // 4, parse_size(options.rows))
    )
    plan = terabyte(small, large, options.cores)
    if options.json:
        print(
            json.dumps({"small": small, "large": large, "cores": options.cores, "terabyte": plan}, indent=2)
        )
    else:
        print("\n".join(f"{name.replace('_', ' ')}: {small[name]}, {large[name]}" for name in large))
        for name in ("map_seconds", "merge_and_conclude_seconds"):
            said = name.replace("_", " ").replace(" seconds", "")
            print(f"microseconds a row, {said}: {1e6 * seconds_per_row(small, large, name):.1f}")
        print(
            "\n".join(
                ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one.items()) for one in plan
            )
        )
    for one in (small, large):
        if not one["reports_are_identical"] or one["copies"] != one["copies_by_parts"]:
            raise SystemExit("the shards and the single process disagree")


if __name__ == "__main__":
    main()
