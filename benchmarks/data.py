"""`luthier data check` beside the same by hand with pandas, datasets and datasketch: time, rate, memory, what is found.

    python benchmarks/data.py [--sizes 10k,100k,1M] [--tools luthier,pandas,...] [--workers 2] [--repeats 3] [--json]

Rows are synthetic, about 1 KB each, with troubles planted (`synthetic_rows`); every tool's counts are held against
what was planted. The peers do only what `data_peers` says: duplicates, leaks and placeholders, or near-duplicates.
Each measurement is a process of its own. Memory is the highest sum of resident memory over the process and its
children, looked at every 100 ms. Sizes of a million rows and more are measured once, smaller ones `--repeats` times,
tools alternating; medians are told.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from synthetic_rows import Files, Planted, write_rows

TOOLS = ("luthier", "pandas", "datasets", "datasketch")
# Their time and memory would only grow: datasketch keeps every sketch, and takes about a millisecond a row.
LARGEST = {"luthier": 10**9, "pandas": 10**6, "datasets": 10**6, "datasketch": 10**5}
_ONCE_FROM_ROWS = 1_000_000
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """One process: wall and processor seconds, the highest resident memory of it and its children, what it found."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    found: Mapping[str, int]


@dataclass(frozen=True)
class Line:
    """A line of the table: medians of a tool at a size, and its time as a multiple of Luthier's."""

    tool: str
    rows: int
    seconds: float
    rows_per_second: float
    cpu_seconds: float
    peak_bytes: int
    ratio: float | None
    found: Mapping[str, int]
    missed: Mapping[str, str]


def measure(command: Sequence[str]) -> tuple[float, float, int, bytes]:
    """(wall seconds, processor seconds, peak bytes, standard output) of a command and all its children."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        peak = 0
        while True:
            peak = max(peak, tree_bytes(process.pid))
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            time.sleep(_LOOK_SECONDS)
        seconds = time.perf_counter() - started
        output.seek(0), errors.seek(0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 2):  # 2: `luthier data check` found errors, as it must
            sys.exit(f"{' '.join(command)} failed:\n{errors.read().decode()[-3000:]}")
        return seconds, usage.ru_utime + usage.ru_stime, peak, output.read()


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its children, now; pages that they share count in each."""
    try:
        tree = [psutil.Process(pid)]
        tree += tree[0].children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def command_of(tool: str, files: Files, workers: int) -> list[str]:
    if tool == "luthier":
        verb = [sys.executable, "-m", "luthier", "data", "check", "--json", "--workers", str(workers)]
        return [*verb, str(files.train), str(files.broken), "--valid", str(files.valid)]
    return [
        sys.executable,
        str(Path(__file__).with_name("data_peers.py")),
        tool,
        str(files.train),
        str(files.valid),
    ]


def found_by(tool: str, output: bytes) -> dict[str, int]:
    value = json.loads(output)
    if tool != "luthier":
        return dict(value)
    names = {
        "duplicate_rows": "duplicates",
        "near_duplicate_rows": "near_duplicates",
        "valid_rows_in_train": "leaked_rows",
        "unfilled_placeholders": "placeholders",
        "broken_json": "broken_lines",
    }
    found = {"rows": value["files"][0]["rows"], "valid_rows": value["files"][-1]["rows"]}
    found |= dict.fromkeys(names.values(), 0)
    for finding in value["findings"]:
        if finding["name"] in names and (
            finding["split"] == "train" or finding["name"] == "valid_rows_in_train"
        ):
            found[names[finding["name"]]] = finding["count"]
    return found


def missed(found: Mapping[str, int], planted: Mapping[str, int]) -> dict[str, str]:
    """What a tool counted otherwise than it was planted. What it does not look for is not among it."""
    expected = {**planted, "near_or_exact_duplicates": planted["duplicates"] + planted["near_duplicates"]}
    return {
        name: f"{count:,} instead of {expected[name]:,}"
        for name, count in found.items()
        if count != expected[name]
    }


def measure_size(rows: int, tools: Sequence[str], workers: int, repeats: int) -> list[Line]:
    """The lines of one size; the files are gone afterwards."""
    planted = Planted.for_rows(rows)
    measured: dict[str, list[Measured]] = {tool: [] for tool in tools if rows <= LARGEST[tool]}
    with tempfile.TemporaryDirectory(prefix="luthier-benchmark-") as folder:
        files = write_rows(Path(folder), planted)
        for _ in range(1 if rows >= _ONCE_FROM_ROWS else repeats):
            for tool, so_far in measured.items():
                *numbers, output = measure(command_of(tool, files, workers))
                so_far.append(Measured(*numbers, found_by(tool, output)))
    base = statistics.median(one.seconds for one in measured["luthier"]) if "luthier" in measured else None
    return [line_of(tool, planted, several, base) for tool, several in measured.items()]


def line_of(tool: str, planted: Planted, several: Sequence[Measured], base: float | None) -> Line:
    seconds = statistics.median(one.seconds for one in several)
    found = several[-1].found
    return Line(
        tool=tool,
        rows=planted.rows,
        seconds=round(seconds, 3),
        rows_per_second=round(planted.rows / seconds, 1),
        cpu_seconds=round(statistics.median(one.cpu_seconds for one in several), 3),
        peak_bytes=max(one.peak_bytes for one in several),
        ratio=None if base is None else round(seconds / base, 3),
        found=found,
        missed=missed(found, planted.to_dict()),
    )


def table_line(line: Line) -> str:
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}x"
    found = "; ".join(f"{name} {said}" for name, said in line.missed.items()) or "all it looks for"
    return (
        f"| {line.tool} | {line.rows:,} | {line.seconds:,.1f} | {line.cpu_seconds:,.1f} | {line.rows_per_second:,.0f} "
        f"| {line.peak_bytes / 2**20:,.0f} | {ratio} | {found} |"
    )


def parse_size(text: str) -> int:
    """`10k`, `1M`, `2500`."""
    factor = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    return int(text.rstrip("kM")) * factor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="10k,100k,1M")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = set(options.tools.split(",")) - set(TOOLS)
    if unknown:
        parser.error(f"unknown tools {', '.join(sorted(unknown))}; known: {', '.join(TOOLS)}")
    lines: list[Line] = []
    if not options.json:
        print("| tool | rows | seconds | processor s | rows/s | peak MiB | time / Luthier's | found |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
    for size in map(parse_size, options.sizes.split(",")):
        lines += measure_size(size, options.tools.split(","), options.workers, options.repeats)
        if not options.json:
            print("\n".join(table_line(line) for line in lines if line.rows == size), flush=True)
    if options.json:
        value: dict[str, Any] = {"workers": options.workers, "lines": [asdict(line) for line in lines]}
        print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
