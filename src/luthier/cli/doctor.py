"""`luthier doctor`: what this machine can do, and what is installed."""

from importlib import metadata
from importlib.util import find_spec
from typing import Annotated

import typer

from luthier.cli.common import console, print_json

# Optional packages by the extra that installs them. An extra is listed once something here uses it.
EXTRAS = {
    "metrics": ("sklearn", "sacrebleu", "rouge_score"),
    "llamacpp": ("llama_cpp",),
    "lm-eval": ("lm_eval",),
    "test": ("pytest", "hypothesis", "statsmodels", "trl"),
    "lint": ("ruff", "mypy"),
}

_SANDBOX = {
    "bubblewrap": "code that a model wrote runs behind the full wall",
    "namespaces": "code that a model wrote runs behind the full wall, made without bubblewrap",
    "landlock": "a weaker wall; apt-get install bubblewrap, or allow user namespaces, for the full one",
    "none": "no wall holds: code that a model wrote is not run; apt-get install bubblewrap",
}


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print cores, memory, GPUs, the dtype chosen by a probe and why, and the sandbox, which extras are installed."""
    import platform

    import torch

    from luthier.models import hardware
    from luthier.sandbox.levels import find_level

    total, available = hardware.memory_bytes()
    device = hardware.default_device()
    choice = hardware.choose_dtype(device)
    wall = find_level()
    facts = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": hardware.processor_name(),
        "cores": hardware.num_cores(),
        "memory_bytes": total,
        "memory_available_bytes": available,
        "gpus": [
            {"name": gpu.name, "generation": gpu.generation, "memory_bytes": gpu.memory_bytes}
            for gpu in hardware.gpus()
        ],
        "device": device.type,
        "dtype": str(choice.dtype).removeprefix("torch."),
        "dtype_reason": choice.reason,
        "versions": {name: metadata.version(name) for name in ("luthier", "torch", "transformers", "peft")},
        "torch_threads": torch.get_num_threads(),
        "sandbox": wall.level.value,
        "sandbox_missing": {level.value: reason for level, reason in wall.missing.items()},
        "extras": {
            extra: {package: find_spec(package) is not None for package in packages}
            for extra, packages in EXTRAS.items()
        },
    }
    if json:
        print_json(facts)
        return
    screen = console()
    screen.print(f"{facts['processor']}, {facts['cores']} cores, {facts['torch_threads']} threads")
    screen.print(f"memory  {total / 2**30:.1f} GiB, {available / 2**30:.1f} GiB available")
    for gpu in hardware.gpus():
        screen.print(f"GPU     {gpu.name} ({gpu.generation}), {gpu.memory_bytes / 2**30:.0f} GiB")
    if not facts["gpus"]:
        screen.print(f"GPU     none that torch sees; computing on {device.type}")
    screen.print(f"dtype   {facts['dtype']}: {choice.reason}")
    versions = metadata.version
    screen.print(
        f"python  {facts['python']}, "
        + ", ".join(f"{n} {versions(n)}" for n in ("torch", "transformers", "peft"))
    )
    screen.print(f"sandbox {wall.level}: {_SANDBOX[wall.level.value]}")
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        state = (
            "installed" if not missing else f"missing {', '.join(missing)}: pip install 'luthier\\[{extra}]'"
        )
        screen.print(f"extra   {extra}: {state}")
