"""Training speed and memory beside named peers: the same model, token rows, order, batch, learning rate and steps.

    python benchmarks/train.py [--jobs shared top dpo unshared] [--peers trl mlx] [--repeats 3] [--json FILE]

Each measurement is a process of its own; the trainers alternate; medians are printed. Peers are tried in several
variants (`--variants trl:padded trl:padding_free ...`); the fastest of a peer is what Luthier is compared with. Tokens
are those of the rows, shared ones counted for every row, pads never; the first step, which warms up, is left out of
the time. Memory is the most that the process held. The model has random weights of a known shape, built beforehand.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from train_peers import TRAINERS, Measured
from train_shapes import JOBS, SHAPES, Job, model_folder, write_rows

VARIANTS = {"luthier": ["default"], "trl": ["padded"], "mlx": ["default"]}


def chosen_job(name: str, options: argparse.Namespace) -> Job:
    """The job as it was asked for: smaller ones suit a machine that has other work."""
    job = JOBS[name]
    steps = options.steps * job.epochs if options.steps else job.num_steps
    return replace(job, num_steps=steps, batch_size=options.batch_size or job.batch_size)


def measure(
    trainer: str, variant: str, job: Job, model: Path, rows: Path, dtype: str, timeout_seconds: int
) -> Measured | None:
    """One measurement in a process of its own; None, said on the error stream, where it failed."""
    command = [sys.executable, __file__, "--worker", f"{trainer}:{variant}", "--jobs", job.name]
    command += ["--folder", str(model), "--rows", str(rows), "--dtype", dtype]
    command += ["--steps", str(job.num_steps // job.epochs), "--batch-size", str(job.batch_size)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        print(f"{trainer}:{variant} on {job.name}: more than {timeout_seconds} s", file=sys.stderr)
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        print(f"{trainer}:{variant} on {job.name} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return Measured(**json.loads(lines[-1].removeprefix("RESULT ")))


def worker(options: argparse.Namespace) -> None:
    trainer, _, variant = options.worker.partition(":")
    job = chosen_job(options.jobs[0], options)
    with tempfile.TemporaryDirectory() as folder:
        found = TRAINERS[trainer](
            job, Path(options.folder), Path(options.rows), Path(folder), options.dtype, variant
        )
    print("RESULT " + found.to_json())


def medians(runs: list[list[float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*runs, strict=True)]


def median(results: list[Measured]) -> Measured:
    """The median of each number; losses are those of the last run."""
    return Measured(
        statistics.median(one.tokens_per_second for one in results),
        statistics.median(one.tokens_per_cpu_second for one in results),
        medians([one.epoch_tokens_per_second for one in results]),
        medians([one.epoch_tokens_per_cpu_second for one in results]),
        int(statistics.median(one.peak_memory_bytes for one in results)),
        results[-1].losses,
        results[-1].rows_hash,
    )


def run_job(job: Job, entrants: list[tuple[str, str]], options: argparse.Namespace) -> dict[str, Any]:
    """Measure all entrants alternately; returns what the table shows, by `trainer:variant`."""
    work = Path(options.work)
    model = model_folder(options.shape, work / options.shape)
    rows = write_rows(job, work / f"{job.name}.jsonl")
    found: dict[str, list[Measured]] = {}
    for _ in range(options.repeats):
        for trainer, variant in entrants:
            one = measure(trainer, variant, job, model, rows, options.dtype, options.timeout)
            if one is not None:
                found.setdefault(f"{trainer}:{variant}", []).append(one)
                print(
                    f"  {job.name} {trainer}:{variant} {one.tokens_per_second:.0f} tokens/s "
                    f"{one.tokens_per_cpu_second:.0f} by the processor's "
                    f"{one.peak_memory_bytes / 1e9:.2f} GB losses {one.losses[0]:.4f} ... {one.losses[-1]:.4f}",
                    file=sys.stderr,
                    flush=True,
                )
    middle = {name: median(results) for name, results in found.items()}
    # Packed rows are the same tokens cut anew, so that only their sum can be compared.
    hashes = {name: one.rows_hash for name, one in middle.items() if not name.endswith(":packed")}
    if len(set(hashes.values())) > 1:
        sys.exit(f"{job.name}: the trainers did not see the same tokens: {hashes}")
    return {name: vars(one) for name, one in middle.items()}


def rate(one: dict[str, Any], unit: str) -> str:
    """Tokens per second, those of each epoch behind it where there are several."""
    epochs = one[f"epoch_tokens_per_{unit}second"]
    each = f" ({', '.join(f'{value:.0f}' for value in epochs)} by epoch)" if len(epochs) > 1 else ""
    return f"{one[f'tokens_per_{unit}second']:.0f}{each}"


def table(results: dict[str, dict[str, Any]]) -> str:
    """The medians, and Luthier's as ratios of each peer's, in markdown."""
    lines = [
        "| job | trainer | tokens/s | by the processor's s | peak GB | first, last loss | Luthier | memory | aim |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entrants in results.items():
        job, ours = JOBS[name], entrants.get("luthier:default")
        for entrant, one in entrants.items():
            ratios = ["", "", ""]
            if ours is not None and entrant != "luthier:default":
                speeds = [ours[key] / one[key] for key in ("tokens_per_second", "tokens_per_cpu_second")]
                memory = ours["peak_memory_bytes"] / one["peak_memory_bytes"]
                aims = f">= {job.targets[0]:g}x, <= {job.targets[1]:g}x"
                ratios = [f"{speeds[0]:.2f}x, {speeds[1]:.2f}x", f"{memory:.2f}x", aims]
            cells = [
                job.told,
                entrant,
                rate(one, ""),
                rate(one, "cpu_"),
                f"{one['peak_memory_bytes'] / 1e9:.2f}",
            ]
            cells += [f"{one['losses'][0]:.4f}, {one['losses'][-1]:.4f}", *ratios]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--peers", nargs="*", default=["trl"], choices=["trl", "mlx"])
    parser.add_argument("--variants", nargs="*", default=[], help="trl:padding_free luthier:padded ...")
    parser.add_argument("--shape", default="smollm-135m", choices=list(SHAPES))
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, help="steps an epoch, instead of the job's own; at least 2")
    parser.add_argument("--batch-size", type=int, help="rows a step, instead of the job's own")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one measurement")
    parser.add_argument("--work", help="where model and rows are kept from one call to the next")
    parser.add_argument("--json", help="write the medians there")
    for hidden in ("--worker", "--folder", "--rows"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    with tempfile.TemporaryDirectory() as scratch:
        options.work = options.work or scratch
        entrants = [(name, one) for name in ("luthier", *options.peers) for one in VARIANTS[name]]
        entrants += [(one.partition(":")[0], one.partition(":")[2]) for one in options.variants]
        results = {}
        for name in options.jobs:
            fitting = [e for e in entrants if e[0] != "mlx" or name in ("shared", "unshared")]
            results[name] = run_job(chosen_job(name, options), fitting, options)
            if options.json:
                Path(options.json).write_text(json.dumps(results, indent=2), encoding="utf-8")
    print(f"{options.shape} with random weights, {options.dtype}, {options.repeats} runs each, medians\n")
    print(table(results))


if __name__ == "__main__":
    main()
