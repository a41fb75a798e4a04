"""Training speed and memory beside TRL's SFTTrainer: the same model, rows, batch, seed and number of steps.

    python benchmarks/train.py [--model luthier-nano] [--method full] [--steps 40] [--repeats 3]

Each measurement is a process of its own; the two trainers alternate; medians and their ratio are printed.
Tokens are those of the rows (no pads). TRL runs in bfloat16 with padding, the loss on the answers only.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRAINERS = ("luthier", "trl")


def rows(folder: Path) -> Path:
    """The demo's training rows."""
    from luthier.demo.dataset import write_demo_dataset

    return write_demo_dataset(folder)["train"]


def measure_luthier(model: str, method: str, steps: int, folder: Path) -> dict[str, float]:
    from luthier.config import Layer
    from luthier.registry.runs import create_run
    from luthier.training.job import run_job
    from luthier.training.plan import plan_job
    from luthier.training.tracking import MetricsFile, peak_memory_bytes

    values = {
        "model": model,
        "method": method,
        "data": {"train": [str(rows(folder))]},
        "optim": {"learning_rate": 1e-4},
        "train": {"max_steps": steps, "batch_size": 16, "dtype": "bfloat16"},
        "evaluation": {"per_epoch": 0},
    }
    plan = plan_job([Layer("benchmark", values)])
    run = create_run(folder / "run", recipe_yaml="", data_manifest=plan.data_manifest)
    result = run_job(plan, run, tracker=MetricsFile(run))
    events = [event for event in run.read_metrics() if event["event"] == "step"]
    steady = events[len(events) // 4 :]  # the first quarter pays for loading kernels
    tokens = steady[-1]["tokens"] - steady[0]["tokens"]
    return {
        "tokens_per_second": tokens / (steady[-1]["seconds"] - steady[0]["seconds"]),
        "peak_memory_bytes": peak_memory_bytes(),
        "last_loss": float(result.loop.last_loss or 0),
    }


def measure_trl(model: str, method: str, steps: int, folder: Path) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from luthier.models.load import find_model, load_tokenizer
    from luthier.training.tracking import peak_memory_bytes

    place = find_model(model).base
    tokenizer = load_tokenizer(place)
    examples = [
        json.loads(line)["messages"] for line in rows(folder).read_text(encoding="utf-8").splitlines()
    ]
    dataset = Dataset.from_list([{"prompt": turns[:-1], "completion": turns[-1:]} for turns in examples])
    lengths = [len(tokenizer.apply_chat_template(turns, return_dict=False)) for turns in examples]

    class Clock(TrainerCallback):
        times: list[float]

        def __init__(self) -> None:
            self.times = []

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.times.append(time.perf_counter())

    clock = Clock()
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=16,
        max_steps=steps,
        learning_rate=1e-4,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        completion_only_loss=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        seed=0,
    )
    adapter = (
        LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear")
        if method == "lora"
        else None
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32),
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[clock],
    )
    trainer.train()
    first = steps // 4
    tokens = (steps - 1 - first) * 16 * statistics.mean(lengths)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "tokens_per_second": tokens / (clock.times[-1] - clock.times[first]),
        "peak_memory_bytes": peak_memory_bytes(),
        "last_loss": losses[-1],
    }


def worker(trainer: str, model: str, method: str, steps: int) -> None:
    measure = {"luthier": measure_luthier, "trl": measure_trl}[trainer]
    with tempfile.TemporaryDirectory() as name:
        print("RESULT " + json.dumps(measure(model, method, steps, Path(name))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="luthier-nano")
    parser.add_argument("--method", default="full", choices=["full", "lora"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=TRAINERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.model, options.method, options.steps)
        return
    found: dict[str, list[dict[str, float]]] = {trainer: [] for trainer in TRAINERS}
    for _ in range(options.repeats):
        for trainer in TRAINERS:
            command = [sys.executable, __file__, "--worker", trainer, "--model", options.model]
            command += ["--method", options.method, "--steps", str(options.steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if done.returncode or not lines:
                sys.exit(f"{trainer} failed:\n{done.stderr[-2000:]}")
            found[trainer].append(json.loads(lines[-1].removeprefix("RESULT ")))
    medians = {
        trainer: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for trainer, results in found.items()
    }
    print(
        f"{options.model}, {options.method}, {options.steps} steps of 16 rows, {options.repeats} runs each, medians"
    )
    for trainer, one in medians.items():
        print(
            f"  {trainer:<8} {one['tokens_per_second']:>8,.0f} tokens/s   "
            f"{one['peak_memory_bytes'] / 1e9:>5.2f} GB   last loss {one['last_loss']:.3f}"
        )
    ratio = {
        key: medians["luthier"][key] / medians["trl"][key]
        for key in ("tokens_per_second", "peak_memory_bytes")
    }
    print(
        f"  luthier / trl: {ratio['tokens_per_second']:.2f}x tokens/s, {ratio['peak_memory_bytes']:.2f}x memory"
    )


if __name__ == "__main__":
    main()
