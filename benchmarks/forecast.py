"""Real jobs beside their forecasts: what the constants of `luthier.training.forecast.calibration` are worth.

    python benchmarks/forecast.py            # nano full and lora, a SmolLM-135M shape with lora
    python benchmarks/forecast.py --deep     # other batch sizes, dtypes and methods too

Each job is a real run of `luthier train` in a process of its own, two steps long. Printed: forecast and measured peak
memory and tokens/s, and their ratio.
"""

import argparse
import json
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
from luthier.training.forecast.workload import workload_of
from luthier.training.plan import plan_job

JOBS = [
    ("nano", {"method": "full"}),
    ("nano", {"method": "lora"}),
    ("nano", {"method": "dora"}),
    ("135m", {"method": "lora", "train": {"tokens_per_microbatch": 512, "batch_size": 8}}),
]
DEEP = [
    ("nano", {"method": "full", "train": {"tokens_per_microbatch": 1024}}),
    ("nano", {"method": "lora", "train": {"tokens_per_microbatch": 8192, "batch_size": 64}}),
    ("nano", {"method": "full", "train": {"dtype": "bfloat16"}}),
    ("135m", {"method": "lora", "train": {"tokens_per_microbatch": 1024, "batch_size": 8}}),
    ("135m", {"method": {"name": "top_layers", "num_layers": 8}, "train": {"batch_size": 8}}),
    ("135m", {"method": "full", "train": {"tokens_per_microbatch": 512, "batch_size": 8}}),
    ("135m", {"method": "lora", "train": {"gradient_checkpointing": True, "batch_size": 8}}),
]


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
    words = [
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
        "answer",
        "number",
    ]

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(low, high)))

    rows = [{"prompt": text(20, 120), "completion": text(20, 120)} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def compare(values: dict[str, Any], folder: Path) -> tuple[float, float, float, float]:
    """(forecast bytes, measured bytes, forecast tokens/s, measured tokens/s)."""
    plan = plan_job([Layer("job", values)])
    workload = workload_of(plan.recipe, plan.train_rows, plan.validation_rows, plan.num_steps)
    made = forecast(plan.recipe, config_of(plan.recipe), workload, this_device("cpu"))
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "luthier", "train", str(recipe), "--name", "run", "--overwrite"]
    subprocess.run([*command, "--runs", str(folder)], check=True, capture_output=True)
    steps = [event for event in Run(folder / "run").read_metrics() if event["event"] == "step"]
    speed = max(step["tokens_per_second"] for step in steps)
    return made.memory.total, steps[-1]["peak_memory_bytes"], made.duration.tokens_per_second, speed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deep", action="store_true")
    parser.add_argument(
        "--only", type=int, action="append", help="Only this job, counted from 0; repeatable."
    )
    asked = parser.parse_args()
    jobs = JOBS + (DEEP if asked.deep else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_135m(folder / "135m")
        make_rows(folder / "rows.jsonl")
        models = {"nano": "luthier-nano", "135m": str(folder / "135m")}
        for model, changes in jobs if asked.only is None else [jobs[one] for one in asked.only]:
            train = {"max_steps": 2, "batch_size": 32, "dtype": "float32", "device": "cpu"}
            values = {
                "model": models[model],
                "method": changes["method"],
                "data": str(folder / "rows.jsonl"),
                "train": {**train, **changes.get("train", {})},
            }
            memory, measured, speed, measured_speed = compare(values, folder)
            print(
                f"{model} {json.dumps(changes)}: memory {memory / 1e9:.2f} forecast, {measured / 1e9:.2f} GB "
                f"({memory / measured - 1:+.0%}); speed {speed:,.0f} forecast, {measured_speed:,.0f} tokens/s "
                f"({speed / measured_speed - 1:+.0%})",
                flush=True,
            )


if __name__ == "__main__":
    main()
