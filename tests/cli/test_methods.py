"""`luthier methods`: the table, and counts that are those of the real thing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.cli.main import main
from luthier.models.load import load_weights
from luthier.models.method_table import METHODS
from luthier.models.methods import apply_method, count_parameters
from luthier.training.method_config import base_quantization, default_method
from tests.training.toys import model_folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    sys.argv = ["luthier", "methods", *arguments]
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_every_method_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    for name, facts in METHODS.items():
        assert f"{name}: {facts.trains}" in text
        assert f"{facts.learning_rate:g}" in text


def test_the_counts_are_those_of_the_loaded_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_folder(tmp_path / "model", tie_word_embeddings=True)
    told: list[dict[str, Any]] = json.loads(printed(capsys, "--model", str(folder), "--json"))
    counts = {one["name"]: one["parameters"] for one in told}
    assert counts.keys() == METHODS.keys()
    assert counts["freeze"] is None  # it depends on the patterns
    assert counts["top_layers"] is None  # four layers by default, and the toy has two
    for name in counts.keys() - {"freeze", "top_layers"}:
        method = default_method(name)
        model = load_weights(str(folder), torch.float32, quantization=base_quantization(method))
        trained, everything = count_parameters(apply_method(model, method, "toy", torch.float32))
        assert counts[name] == {"trained": trained, "all": everything}, name
