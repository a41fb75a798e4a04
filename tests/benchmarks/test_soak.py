"""The soak in its short form: a real server under clients of every kind of manners, for 20 seconds."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "llamacpp"])
def test_nothing_leaks_nothing_is_mixed_up_nothing_is_lost(tmp_path: Path, engine: str) -> None:
    if engine == "llamacpp" and importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed: nothing runs a GGUF file")
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--minutes", "0.34", "--engine", engine]
    done = subprocess.run([*command, "--work", str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "0 are not in the record" in done.stdout
