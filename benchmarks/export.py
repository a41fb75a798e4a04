"""The merge beside PEFT's, and GGUF files: wall time and peak memory, each in its own process, and the disk's rate.

    python benchmarks/export.py                      # the shape of a 1.7B model, bfloat16
    python benchmarks/export.py --layers 4           # a slice of it
    python benchmarks/export.py --converter LLAMA.CPP/convert_hf_to_gguf.py

The model is random and written to a scratch folder (four times its size is needed there). PEFT: the base in bfloat16,
merge_and_unload, save_pretrained. Luthier: luthier.export.merge. Both write the same tensors; the greatest difference
between them is printed, because PEFT rounds B A to bfloat16 before it adds it. GGUF: luthier.export.gguf.write of the
base, in its own type and in Q8_0; with --converter beside llama.cpp's own, which comes with its source (that of the
`llama-cpp-python` source package will do). It knows tokenizers by a list, on which the embedded one is not: here it is
told that this is qwen2's.
"""

import argparse
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RANK = 16


def make(folder: Path, layers: int, vocabulary: int) -> tuple[Path, Path]:
    """A random base of Qwen3-1.7B's widths, and a LoRA over all its linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen3Config

    from luthier.models.embedded import DEFAULT_MODEL, EMBEDDED
    from luthier.models.load import load_tokenizer

    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tokenizer = load_tokenizer(str(EMBEDDED[DEFAULT_MODEL].folder))
    base, adapter = folder / "base", folder / "adapter"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    lora = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=32, target_modules="all-linear")
    adapted = get_peft_model(model, lora, autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(adapter, save_embedding_layers=False)
    tokenizer.save_pretrained(adapter)
    return base, adapter


def merge_luthier(base: Path, adapter: Path, out: Path) -> None:
    from luthier.export.merge import merge

    merge(str(adapter), out)


def merge_peft(base: Path, adapter: Path, out: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    os.sync()  # the other one ends on the disk too


def gguf_as_stored(base: Path, adapter: Path, out: Path) -> None:
    from luthier.export.gguf.write import write_gguf

    write_gguf(base, out, "bf16")


def gguf_q8_0(base: Path, adapter: Path, out: Path) -> None:
    from luthier.export.gguf.write import write_gguf

    write_gguf(base, out, "q8_0")


WAYS = {"luthier": merge_luthier, "peft": merge_peft, "gguf bf16": gguf_as_stored, "gguf q8_0": gguf_q8_0}


def converter(script: Path, out_type: str) -> Callable[[Path, Path, Path], None]:
    """llama.cpp's converter in this process, with its own copy of the gguf package."""
    sys.path[:0] = [str(script.parent), str(script.parent / "gguf-py")]
    import conversion.base  # type: ignore[import-not-found]  # llama.cpp's

    def convert(base: Path, adapter: Path, out: Path) -> None:
        conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
        sys.argv = [str(script), str(base), "--outfile", str(out), "--outtype", out_type]
        runpy.run_path(str(script), run_name="__main__")
        os.sync()  # the other one ends on the disk too

    return convert


def ways(script: Path | None) -> list[str]:
    """What is run, in order."""
    return [*WAYS, "converter bf16", "converter q8_0"] if script else [*WAYS]


def worker(way: str, base: Path, adapter: Path, out: Path, script: Path | None) -> None:
    """One merge; imports are not counted."""
    import peft  # noqa: F401
    import transformers  # noqa: F401

    if script is not None and way.startswith("converter"):
        run = converter(script, way.split()[1])
    else:
        import luthier.export.gguf.write
        import luthier.export.merge  # noqa: F401

        run = WAYS[way]
    before = peak_bytes()
    started, processor = time.perf_counter(), time.process_time()
    run(base, adapter, out)
    found = {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "peak_bytes": peak_bytes(),
        "before_bytes": before,
    }
    print(json.dumps(found))


def peak_bytes() -> int:
    """Of this process alone: `ru_maxrss` would hand down what its parent had. Files that are mapped count too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def disk_rate(folder: Path, num_bytes: int) -> float:
    """Bytes per second of writing a file from start to end, until it is on the disk."""
    block = os.urandom(1 << 24)
    started = time.perf_counter()
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(max(1, num_bytes // len(block))):
            file.write(block)
        os.fsync(file.fileno())
    (folder / "disk").unlink()
    return max(1, num_bytes // len(block)) * len(block) / (time.perf_counter() - started)


def difference(first: Path, second: Path) -> float:
    """The greatest difference of any weight."""
    from luthier.export.tensor_files import stored_tensors

    found: list[dict[str, Any]] = [{}, {}]
    for place, folder in zip(found, (first, second), strict=True):
        for path in folder.glob("*.safetensors"):
            place |= stored_tensors(path)
    return max(
        float((one.rows().float() - found[1][name].rows().float()).abs().max())
        for name, one in found[0].items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where the scratch folder goes; default: the system's")
    parser.add_argument("--converter", type=Path, help="llama.cpp's convert_hf_to_gguf.py; default: not run")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        base, adapter, out = map(Path, args.worker[1:])
        worker(args.worker[0], base, adapter, out, args.converter)
        return
    with tempfile.TemporaryDirectory(dir=args.work) as scratch:
        folder = Path(scratch)
        base, adapter = make(folder, args.layers, args.vocabulary)
        size = sum(path.stat().st_size for path in base.glob("*.safetensors"))
        print(
            f"{size / 1e9:.2f} GB of weights; the disk writes {disk_rate(folder, size) / 1e6:,.0f} MB/s",
            flush=True,
        )
        for repeat in range(args.repeats):
            for way in ways(args.converter):
                out = folder / f"{way.replace(' ', '-')}-{repeat}"
                command = [sys.executable, __file__, "--worker", way, str(base), str(adapter), str(out)]
                command += ["--converter", str(args.converter)] if args.converter else []
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                peak, before = found["peak_bytes"] / 1e9, found["before_bytes"] / 1e9
                seconds, processor = found["seconds"], found["processor_seconds"]
                print(
                    f"{way:14} {seconds:7.2f} s ({processor:6.2f} of the processor) {size / seconds / 1e6:6,.0f} MB/s  "
                    f"peak {peak:.2f} GB ({before:.2f} imports)",
                    flush=True,
                )
                if (
                    repeat or "gguf" in way or "converter" in way
                ):  # the first two merges are compared at the end
                    shutil.rmtree(out) if out.is_dir() else out.unlink()
        print(f"greatest difference of a weight: {difference(folder / 'luthier-0', folder / 'peft-0'):.2g}")


if __name__ == "__main__":
    main()
