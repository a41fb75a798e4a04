"""Streaming: the run whose frozen layers were never in memory together is, bit for bit, the run that loads them all."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.errors import ConfigError, ModelError
from luthier.hashing import hash_file
from luthier.models.load import load_model, load_weights
from luthier.models.stream import load_crown, stream_of
from luthier.models.trunk_cache import TrunkCache, default_cache
from luthier.training import streamed
from tests.toy import tiny_model
from tests.training.test_trunk import DORA, base, run, said, validation


@pytest.mark.parametrize(
    "architecture", ["llama", "qwen3", "gemma2", "gemma3_text", "gpt2", "mistral", "phi3"]
)
def test_layers_that_are_read_one_at_a_time_are_those_of_the_model(architecture: str, tmp_path: Path) -> None:
    """Half of these have embeddings that are tied; the files are in several pieces."""
    place = base(tmp_path, architecture)
    whole = load_weights(place, torch.float32).eval()
    whole.save_pretrained(place, max_shard_size="20KB")
    assert len(list(Path(place).glob("*.safetensors"))) > 2
    crown = load_crown(place, 1, torch.float32, torch.device("cpu"))
    stream = stream_of(crown)
    assert stream is not None and all(p.is_meta for p in stream.layers[0].parameters())
    ids = torch.arange(20)[None]
    with torch.no_grad(), stream.in_memory(0):
        assert torch.equal(crown(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert all(p.is_meta for p in stream.layers[0].parameters())
    assert not any(p.is_meta for p in stream.layers[1].parameters())


@pytest.mark.parametrize(
    ("architecture", "method", "packing"),
    [
        ("llama", DORA, "forest"),
        ("gemma3_text", {**DORA, "name": "lora"}, "forest"),
        ("gpt2", DORA, "padding"),
        ("qwen3", {"name": "pissa", "num_layers": 1, "rank": 4, "alpha": 4}, "forest"),
    ],
)
def test_a_streamed_run_is_the_run_that_loads_everything(
    architecture: str, method: Any, packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "architecture": architecture,
        "method": method,
        "train": {"dtype": "float32", "packing": packing, "max_steps": 6},
    }
    loaded, first = run(tmp_path, "loaded", **options)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "other"))
    place = base(tmp_path, architecture)
    alone, second = run(tmp_path, "streamed", "auto", **options | {"model": {"name": place, "stream": True}})
    assert "computed once: 644 tokens computed now" in said(alone)
    assert alone.losses == loaded.losses and validation(alone) == validation(loaded)
    files = [made.model_folder / "adapter_model.safetensors" for made in (first, second)]
    assert hash_file(files[0]) == hash_file(files[1])
    answers = load_model(str(second.model_folder), dtype="float32").model
    with torch.no_grad():
        assert answers(input_ids=torch.arange(9)[None]).logits.isfinite().all()


def test_what_is_streamed_is_held_as_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit the run that loads everything and holds it so; and, but for rounding, the one that holds it wide."""
    place = base(tmp_path, "qwen3")
    load_weights(place, torch.bfloat16).save_pretrained(place)
    options: dict[str, Any] = {"architecture": "qwen3", "method": DORA}
    train = {"dtype": "float32", "max_steps": 6}
    wide, _ = run(tmp_path, "wide", **options, train=train)
    held, loaded = run(tmp_path, "held", **options, train=train | {"frozen_dtype": "stored"})
    assert " 0 tokens computed now" in said(held)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "other"))
    model = {"name": place, "stream": True}
    alone, streamed = run(tmp_path, "streamed", "auto", **options, train=train, model=model)
    assert alone.losses == held.losses and validation(alone) == validation(held)
    files = [made.model_folder / "adapter_model.safetensors" for made in (loaded, streamed)]
    assert hash_file(files[0]) == hash_file(files[1])
    assert list(held.losses.values()) == pytest.approx(list(wide.losses.values()), rel=1e-5)


def test_loaded_and_streamed_runs_share_a_store_and_later_runs_read_no_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "loaded", train={"max_steps": 2})
    monkeypatch.setattr(streamed, "by_layer", None)  # nothing is left to compute
    changes: dict[str, Any] = {"model": {"name": base(tmp_path, "llama"), "stream": True}}
    again, _ = run(tmp_path, "streamed", "auto", train={"max_steps": 2}, **changes)
    assert " 0 tokens computed now" in said(again)
    (store,) = TrunkCache(default_cache(), 0).stores()
    assert not list(store.folder.glob(".*"))


@pytest.mark.parametrize(
    ("said_of", "changes"),
    [
        ("give lora, dora, rslora or pissa num_layers", {"method": {"name": "lora"}}),
        ("give lora, dora, rslora or pissa num_layers", {"method": {"name": "top_layers", "num_layers": 1}}),
        ("leave train.trunk=auto", {"train": {"trunk": "off"}}),
        ("ask them after training", {"evaluation": {"items": "items.jsonl"}}),
        ("no layer is frozen", {"method": {"name": "lora", "num_layers": 2}}),
        ("train.trunk_cache_gb is 1e-05", {"train": {"trunk_cache_gb": 1e-5}}),
        ("noise on the embeddings", {"train": {"neftune_alpha": 5}}),
        ("draw random numbers", {"model": "gpt2"}),
    ],
)  # fmt: skip
def test_what_cannot_be_streamed_is_refused(said_of: str, changes: dict[str, Any], tmp_path: Path) -> None:
    gpt2 = changes.pop("model", None) is not None
    place = base(tmp_path, "gpt2", dropout=True) if gpt2 else base(tmp_path, "llama")
    with pytest.raises(ConfigError, match="stream(.|\n)*" + said_of.replace(".", r"\.")):
        run(tmp_path, "run", "auto", model={"name": place, "stream": True}, **changes)


def test_a_weight_that_the_files_lack_is_named(tmp_path: Path) -> None:
    place = Path(base(tmp_path, "llama"))
    vocab_size = load_weights(str(place), torch.float32).config.vocab_size
    tiny_model("qwen3", vocab_size=vocab_size).config.save_pretrained(place)  # its attention has norms
    with pytest.raises(ModelError, match=r"q_norm\.weight is not in the files"):
        load_crown(str(place), 1, torch.float32, torch.device("cpu"))
