"""`luthier cache`: what a run left in it is listed and cleared."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from luthier.cli.main import main
from luthier.data.dataset import TokenDataset
from luthier.data.token_store import TokenStore, default_token_store
from tests.training.test_trunk import run


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    sys.argv = ["luthier", "cache", *arguments]
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_what_a_run_kept_is_listed_and_cleared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing is kept" in printed(capsys, "list")
    run(tmp_path, "run", train={"max_steps": 1})
    capsys.readouterr()
    assert "1 of 2" in printed(capsys, "list")
    (store,) = json.loads(printed(capsys, "list", "--json"))["stores"]
    assert (store["depth"], store["layers"], store["dtype"]) == (1, 2, "torch.float64")
    assert (
        store["base"].endswith("llama") and store["tokens"] > 100 and store["bytes"] > store["tokens"] * 272
    )
    told = json.loads(printed(capsys, "clear", "--json"))
    assert [one["name"] for one in told["removed"]] == [store["name"]] and told["in_use"] == []
    assert "removed 0 stores" in printed(capsys, "clear")
    assert "nothing is kept" in printed(capsys, "list", "--folder", str(tmp_path / "elsewhere"))


def test_rows_of_tokens_are_listed_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    rows = TokenDataset(np.arange(6, dtype=np.int32), np.ones(6, np.float32), np.array([0, 2, 6]), ["a", "b"])
    TokenStore(default_token_store()).keep(
        {"files": 1}, {"train": rows}, {"files": ["mine.jsonl"], "rows": {}}
    )
    assert "mine.jsonl" in printed(capsys, "list")
    (entry,) = json.loads(printed(capsys, "list", "--json"))["tokens"]
    assert entry["files"] == ["mine.jsonl"] and entry["bytes"] > 0
    assert json.loads(printed(capsys, "clear", "--json"))["token_bytes"] == entry["bytes"]
    assert "nothing is kept" in printed(capsys, "list")
