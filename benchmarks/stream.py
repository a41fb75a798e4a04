"""Peak memory of training the top layers of a model that is streamed: a Qwen3-1.7B shape, DoRA on its top 4 layers.

    python benchmarks/stream.py [--folder DIR] [--rows 2] [--steps 2] [--tokens 256] [--dtype auto] [--layers 28]

Builds the shape with random weights (bfloat16, sharded safetensors, 3.4 GB) in a temporary folder, layer by layer, and
trains it with one row a step in a process of its own. Prints that process's high-water mark as the kernel tells it
(VmHWM: all of it, torch and mapped files too; GB are 10^9 bytes) and its times.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SHAPE = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}


def build(folder: Path, num_layers: int) -> None:
    """The shape on the disk, one shard for each layer and one for the embeddings, with luthier-nano's tokenizer."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from luthier.models.load import find_model, load_tokenizer

    config = Qwen3Config(num_hidden_layers=num_layers, dtype="bfloat16", **SHAPE)
    config.architectures = ["Qwen3ForCausalLM"]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    load_tokenizer(find_model("luthier-nano").base).save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in Qwen3ForCausalLM(config).named_parameters()}
    generator, files = torch.Generator().manual_seed(0), {}
    for name in shapes:
        layer = re.search(r"layers\.(\d+)\.", name)
        files[name] = f"model-{layer[1] if layer else 'rest'}.safetensors"
    for file in dict.fromkeys(files.values()):
        tensors = {}
        for name in (name for name in shapes if files[name] == file):
            if "norm" in name:
                tensors[name] = torch.ones(shapes[name], dtype=torch.bfloat16)
            else:
                drawn = torch.empty(shapes[name], dtype=torch.bfloat16)
                tensors[name] = drawn.normal_(std=0.02, generator=generator)
        save_file(tensors, folder / file, {"format": "pt"})
    index = json.dumps({"metadata": {}, "weight_map": files})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")


def write_rows(path: Path, num_rows: int, num_tokens: int) -> None:
    """Documents of random words, longer than a row; the recipe cuts them at `num_tokens`."""
    import random

    words = ["lime", "river", "seven", "Leeds", "table", "answer", "width", "colour", "field", "number"]
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(num_rows):
            text = " ".join(draw.choice(words) for _ in range(num_tokens // 3))
            file.write(json.dumps({"prompt": text[: len(text) // 2], "completion": text}) + "\n")


def worker(options: argparse.Namespace) -> None:
    import time

    from luthier.config import Layer
    from luthier.registry.runs import create_run
    from luthier.training.job import run_job
    from luthier.training.plan import plan_job
    from luthier.training.tracking import MetricsFile

    folder = Path(options.folder)
    values = {
        "model": {"name": str(folder / "model"), "stream": True},
        "method": {"name": "dora", "num_layers": 4},
        "data": {"train": str(folder / "rows.jsonl"), "max_length": options.tokens, "too_long": "head"},
        "train": {
            "batch_size": 1,
            "max_steps": options.steps,
            "dtype": options.dtype,
            "device": "cpu",
            "trunk_cache": str(folder / "cache"),
        },
        "evaluation": {"per_epoch": 0},
    }
    started = time.perf_counter()
    plan = plan_job([Layer("benchmark", values)])
    run = create_run(folder / "run", recipe_yaml="", data_manifest=[], overwrite=True)
    result = run_job(plan, run, tracker=MetricsFile(run))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    steps = [event for event in run.read_metrics() if event["event"] == "step"]
    found = {
        "peak_gb": int(peak[1]) * 1024 / 1e9 if peak else None,
        "seconds": time.perf_counter() - started,
        "seconds_of_steps": steps[-1]["seconds"],
        "tokens": steps[-1]["tokens"],
        "steps": len(steps),
        "last_loss": result.loop.last_loss,
    }
    print("RESULT " + json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", default=None)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        build(folder / "model", options.layers)
        write_rows(folder / "rows.jsonl", options.rows, options.tokens)
        command = [sys.executable, __file__, "--worker", "--folder", name, "--dtype", options.dtype]
        for key in ("rows", "steps", "tokens", "layers"):
            command += [f"--{key}", str(getattr(options, key))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not lines:
            sys.exit(f"the run failed:\n{done.stderr[-3000:]}")
        print(lines[-1].removeprefix("RESULT "))


if __name__ == "__main__":
    main()
