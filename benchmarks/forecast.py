"""Real jobs beside their forecasts: the table of docs/planning.md, and what the constants of
`luthier.training.forecast.calibration` are worth.

    python benchmarks/forecast.py                    # every job; some ten minutes on two cores
    python benchmarks/forecast.py --only lora        # those of this name, or with it in their name
    python benchmarks/forecast.py --probe            # the two measured steps of `luthier plan --measure` too

Each job is a real run of `luthier train` in a process of its own, two steps long, with rows that share nothing.
Printed: forecast and measured peak memory of the process, and tokens/s of the faster step. Times mean something on an
idle machine alone.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from luthier.config import Layer
from luthier.models.embedded import EMBEDDED
from luthier.registry.runs import Run
from luthier.training.forecast import config_of, forecast
from luthier.training.forecast.devices import this_device
from luthier.training.forecast.probe import probe
from luthier.training.forecast.workload import workload_of
from luthier.training.plan import plan_job

SMALL = {"tokens_per_microbatch": 2048, "batch_size": 16}
LARGE = {"tokens_per_microbatch": 512, "batch_size": 6}
JOBS: dict[str, dict[str, Any]] = {
    "luthier-nano, full": {"method": "full", "train": SMALL},
    "luthier-nano, lora": {"method": "lora", "train": SMALL},
    "luthier-nano, dora": {"method": "dora", "train": SMALL},
    "luthier-nano, qlora": {"method": "qlora", "train": SMALL},
    "luthier-nano, lora, bfloat16": {"method": "lora", "train": {**SMALL, "dtype": "bfloat16"}},
    "135M, lora": {"method": "lora", "train": LARGE},
    "135M, full": {"method": "full", "train": LARGE},
    "135M, qlora": {"method": "qlora", "train": LARGE},
    "135M, lora, checkpointing": {"method": "lora", "train": {**LARGE, "gradient_checkpointing": True}},
    "135M, top 8 layers, trunk": {"method": {"name": "top_layers", "num_layers": 8}, "train": LARGE},
    "135M, dora on the top 4, streamed": {
        "model": {"stream": True},
        "method": {"name": "dora", "num_layers": 4},
        "train": LARGE,
    },
}


def make_135m(folder: Path) -> None:
    """The shape of SmolLM-135M with random weights and the embedded model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED["luthier-nano"].folder).save_pretrained(folder)


def make_rows(path: Path, count: int = 256) -> None:
    """Rows of some 60 to 300 tokens that share nothing."""
    rng = random.Random(0)
    words = (
        "the",
        "field",
        "line",
        "ball",
        "team",
        "player",
        "step",
        "house",
        "river",
        "stone",
        "light",
        "song",
    )

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(low, high)))

    rows = [{"prompt": text(20, 120), "completion": text(20, 120)} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def compare(values: dict[str, Any], folder: Path, measure: bool) -> list[tuple[float, ...]]:
    """(peak bytes, tokens/s) of the forecast, of the run and, if asked for, of the two measured steps."""
    layers = [Layer("job", values)]
    plan = plan_job(layers)
    workload = workload_of(plan.recipe, plan.train_rows, plan.validation_rows, plan.num_steps)
    made = forecast(plan.recipe, config_of(plan.recipe), workload, this_device("cpu"))
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "luthier", "train", str(recipe), "--name", "run", "--overwrite"]
    done = subprocess.run(
        [*command, "--runs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env=_without_cache(folder),
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    steps = [event for event in Run(folder / "run").read_metrics() if event["event"] == "step"]
    speed = max(step["tokens_per_second"] for step in steps)
    found = [
        (made.memory.total, made.duration.tokens_per_second),
        (steps[-1]["peak_memory_bytes"], speed),
    ]
    if measure:
        probed = probe(layers)
        found.append((probed.peak_memory_bytes, probed.tokens_per_second))
    return found


def _without_cache(folder: Path) -> dict[str, str]:
    return {**os.environ, "LUTHIER_CACHE": str(folder / "cache")}


def line(name: str, found: list[tuple[float, ...]]) -> str:
    """A row of a Markdown table."""
    (bytes_, speed), (real_bytes, real_speed), *probed = found
    cells = [
        name, f"{bytes_ / 1e9:.2f}", f"{real_bytes / 1e9:.2f}", f"{bytes_ / real_bytes - 1:+.0%}",
        f"{speed:,.0f}", f"{real_speed:,.0f}", f"{speed / real_speed - 1:+.0%}",
    ]  # fmt: skip
    for memory, rate in probed:
        cells += [f"{memory / real_bytes - 1:+.0%}", f"{rate / real_speed - 1:+.0%}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], help="Jobs of this name, or with this in it; repeatable."
    )
    parser.add_argument("--probe", action="store_true", help="Measure two steps as luthier plan does, too.")
    asked = parser.parse_args()
    exact = [name for name in JOBS if name in asked.only]
    chosen = exact or [name for name in JOBS if not asked.only or any(word in name for word in asked.only)]
    head = ["job", "GB, forecast", "measured", "error", "tokens/s, forecast", "measured", "error"]
    head += ["measured steps: GB, error", "tokens/s, error"] if asked.probe else []
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if any(name.startswith("135M") for name in chosen):
            make_135m(folder / "135m")
        make_rows(folder / "rows.jsonl")
        for name in chosen:
            job = JOBS[name]
            model = "luthier-nano" if name.startswith("luthier-nano") else str(folder / "135m")
            values = {
                "model": {"name": model, **job.get("model", {})},
                "method": job["method"],
                "data": {"train": [str(folder / "rows.jsonl")], "validation_share": 0},
                "train": {"max_steps": 2, "dtype": "float32", "device": "cpu", **job["train"]},
            }
            print(line(name, compare(values, folder, asked.probe)), flush=True)


if __name__ == "__main__":
    main()
