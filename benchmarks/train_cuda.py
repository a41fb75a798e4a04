"""The ladder on a GPU: what each thing that a recipe can ask for gives, in tokens/s, memory and use of the card.

    python benchmarks/train_cuda.py [--shape llama-3b] [--steps 12] [--json FILE]

Needs CUDA, and says so where there is none; with Unsloth installed, its LoRA and QLoRA stand beside ours. Each rung is
a process of its own, on the same rows (nothing shared, 40-400 tokens), with random weights. A rung that this version
or card cannot do is told as such, and the ladder goes on. Model-FLOP utilisation counts 6 operations a weight and token
(4 where the base is frozen), without attention and what is computed twice, as a share of what a large bfloat16 product
reaches on this very card. Written without a GPU at hand: no figures of it are claimed anywhere.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from train_peers import ALPHA, LEARNING_RATE, RANK, recipe
from train_shapes import JOBS, SHAPES, Job, model_folder, write_rows

LADDER: dict[str, dict[str, Any]] = {
    "full, padded": {"method": "full", "train": {"packing": "padding"}},
    "full, forest": {"method": "full"},
    "full, forest, checkpointed": {"method": "full", "train": {"gradient_checkpointing": True}},
    "full, forest, checkpointed, Adafactor": {
        "method": "full",
        "train": {"gradient_checkpointing": True},
        "optim": {"name": "adafactor"},
    },
    "LoRA, padded": {"train": {"packing": "padding"}},
    "LoRA, forest": {},
    "LoRA, forest, checkpointed": {"train": {"gradient_checkpointing": True}},
    "QLoRA, forest": {"method": {"name": "qlora", "rank": RANK, "alpha": ALPHA, "dropout": 0.0}},
}
UNSLOTH = {"Unsloth LoRA": False, "Unsloth QLoRA": True}


def rung(name: str, job: Job, model: Path, rows: Path, folder: Path) -> dict[str, float]:
    """One rung by Luthier."""
    import torch

    from luthier.config import Layer
    from luthier.registry.runs import create_run
    from luthier.training.job import run_job
    from luthier.training.plan import plan_job
    from luthier.training.tracking import MetricsFile

    changes = LADDER[name]
    values = recipe(job, model, rows, dtype="bfloat16", device="cuda", tokens_per_microbatch=16384)
    values["train"] |= changes.get("train", {})
    values["optim"] |= changes.get("optim", {})
    values["method"] = changes.get("method", values["method"])
    plan = plan_job([Layer("benchmark", values)])
    run = create_run(folder / "run", recipe_yaml="", data_manifest=plan.data_manifest)
    result = run_job(plan, run, tracker=MetricsFile(run))
    steps = [event for event in run.read_metrics() if event["event"] == "step"]
    warm = steps[len(steps) // 3]  # before it, kernels are compiled
    rate = (steps[-1]["tokens"] - warm["tokens"]) / (steps[-1]["seconds"] - warm["seconds"])
    whole = values["method"] == "full"
    return {
        "tokens_per_second": rate,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "utilisation": (6 if whole else 4) * result.all_parameters * rate / matmul_flops(),
        "last_loss": steps[-1]["loss"],
    }


def unsloth(name: str, job: Job, model: Path, rows: Path, folder: Path) -> dict[str, float]:
    """The same job by Unsloth's own patches and TRL's SFTTrainer, as its guide has it."""
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]  # isort: skip  # before transformers

    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from train_peers import Clock, _Counted, _ticking

    loaded, tokenizer = FastLanguageModel.from_pretrained(
        str(model), max_seq_length=1024, dtype=torch.bfloat16, load_in_4bit=UNSLOTH[name]
    )
    loaded = FastLanguageModel.get_peft_model(
        loaded, r=RANK, lora_alpha=ALPHA, lora_dropout=0, use_gradient_checkpointing="unsloth"
    )
    clock = Clock()
    lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=job.num_steps,
        per_device_train_batch_size=job.batch_size,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        bf16=True,
        completion_only_loss=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
    )
    trainer = SFTTrainer(
        model=loaded,
        args=config,
        train_dataset=Dataset.from_list(lines),
        processing_class=tokenizer,
        callbacks=[_ticking(clock)],
    )
    trainer.data_collator = counted = _Counted(trainer.data_collator)
    trainer.train()
    first = len(clock.ends) // 3
    tokens = sum(counted.tokens[first + 1 : len(clock.ends)])
    rate = tokens / (clock.ends[-1][0] - clock.ends[first][0])
    count = sum(p.numel() for p in loaded.parameters())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "tokens_per_second": rate,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "utilisation": 4 * count * rate / matmul_flops(),
        "last_loss": losses[-1],
    }


def matmul_flops() -> float:
    """Operations a second of a large bfloat16 product on this card."""
    import torch

    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        left @ right
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started)


def measure(name: str, job: Job, model: Path, rows: Path) -> dict[str, Any]:
    """A rung in a process of its own; what it said where it failed."""
    command = [sys.executable, __file__, "--worker", name, "--folder", str(model), "--rows", str(rows)]
    command += ["--steps", str(job.num_steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        return {"failed": said[-1][:120] if said else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="llama-3b", choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json")
    for hidden in ("--worker", "--folder", "--rows"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    job = replace(JOBS["unshared"], num_steps=options.steps)
    if options.worker:
        make = unsloth if options.worker in UNSLOTH else rung
        with tempfile.TemporaryDirectory() as folder:
            found = make(options.worker, job, Path(options.folder), Path(options.rows), Path(folder))
        print("RESULT " + json.dumps(found))
        return
    import torch

    if not torch.cuda.is_available():
        sys.exit("train_cuda: expected a CUDA device, found none; benchmarks/train.py is for the CPU")
    with tempfile.TemporaryDirectory() as scratch:
        model = model_folder(options.shape, Path(scratch) / "model", dtype="bfloat16")
        rows = write_rows(job, Path(scratch) / "rows.jsonl")
        results = {name: measure(name, job, model, rows) for name in (*LADDER, *UNSLOTH)}
    print(f"{options.shape} on {torch.cuda.get_device_name()}, bfloat16, {options.steps} steps\n")
    print("| rung | tokens/s | peak GiB | use of the card | last loss |\n|---|---|---|---|---|")
    for name, one in results.items():
        if "failed" in one:
            print(f"| {name} | not done: {one['failed']} | | | |")
            continue
        cells = [f"{one['tokens_per_second']:.0f}", f"{one['peak_gib']:.1f}", f"{one['utilisation']:.0%}"]
        print(f"| {name} | {' | '.join(cells)} | {one['last_loss']:.3f} |")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
