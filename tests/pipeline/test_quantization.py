"""Smaller forms of luthier-nano side by side: the numbers are the files' own, the choice follows from the evidence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import ConfigError
from luthier.evaluation.stats import Interval
from luthier.evaluation.task import load_items
from luthier.pipeline.quantization import Comparison, SmallerForm, compare_quantizations


def form(kind: str, num_bytes: int, p: float | None) -> SmallerForm:
    return SmallerForm(kind, kind, num_bytes, 1.0, 0.0, 1.0, 0.5, Interval(0, 1, 0.95), 10, 0, 0, p)


def test_the_smallest_that_is_shown_to_be_not_worse_is_chosen() -> None:
    whole, large, middle, small = (
        form("f16", 9, None),
        form("q8_0", 5, 0.01),
        form("q5_0", 4, 0.02),
        form("q4_0", 3, 0.2),
    )
    assert Comparison((whole, large, middle, small), 0.05).smallest is middle
    assert Comparison((whole, replace(large, p_not_worse=0.05), small), 0.05).smallest is None


def test_forms_are_written_asked_and_compared(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
    from luthier.models.embedded import EMBEDDED

    path = tmp_path / "items.jsonl"
    rows = [{"question": f"Say {i}", "must_not": [f"zebra{i}"]} for i in range(8)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    items = load_items(path)
    folder = EMBEDDED["luthier-nano"].folder
    with pytest.raises(ConfigError, match="each once"):
        compare_quantizations(folder, ["q8_0", "q8_0"], items, tmp_path)
    found = compare_quantizations(
        folder, ["q8_0", "q4_0"], items, tmp_path / "out", max_new_tokens=4, margin=0.4
    )
    whole, large, small = found.forms
    assert whole.kl_nats == 0 and whole.p_not_worse is None
    assert 0 < large.kl_nats < small.kl_nats < 1
    assert large.top1 >= 0.95
    assert (
        whole.num_bytes > large.num_bytes > small.num_bytes == (tmp_path / "out" / small.path).stat().st_size
    )
    assert found.smallest is small and small.accuracy == 1.0 and small.not_worse
    assert found.to_dict()["smallest_not_worse"] == "q4_0"
