"""The trunk: a run whose frozen layers were computed once is the run that computes them in every step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config import Layer
from luthier.errors import ConfigError
from luthier.hashing import hash_file
from luthier.models.trunk_cache import TrunkCache, default_cache
from luthier.models.trunk_store import TrunkStore, part_folders
from luthier.registry.runs import Run, create_run
from luthier.training.job import run_job
from luthier.training.plan import plan_job
from tests.toy import byte_tokenizer, tiny_model
from tests.training.test_preference_job import rows as preference_rows
from tests.training.test_preference_job import write
from tests.training.toys import Memory, chat_file

DORA = {"name": "dora", "num_layers": 1, "rank": 4, "alpha": 8}


def base(folder: Path, architecture: str, dropout: bool = False) -> str:
    place = folder / f"{architecture}{'-dropout' if dropout else ''}"
    if not place.exists():
        tokenizer = byte_tokenizer()
        model = tiny_model(architecture, vocab_size=len(tokenizer))
        if architecture == "gpt2" and not dropout:
            for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
                setattr(model.config, name, 0.0)
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    return str(place)


def run(
    folder: Path,
    name: str,
    trunk: str = "on",
    *,
    method: Any = DORA,
    architecture: str = "llama",
    resume: bool = False,
    tracker: Memory | None = None,
    **changes: Any,
) -> tuple[Memory, Run]:
    """Four epochs with several micro-batches a step, and held-out rows; LoRA's dropout is on."""
    values: dict[str, Any] = {
        "model": base(folder, architecture),
        "method": method,
        "data": {"train": str(chat_file(folder / "rows.jsonl", 24)), "validation_share": 0.2},
        "optim": {"learning_rate": 1e-3},
        "train": {
            "dtype": "float64",
            "device": "cpu",
            "epochs": 4,
            "batch_size": 8,
            "tokens_per_microbatch": 64,
            "trunk": trunk,
        },
        "checkpoint": {"every_steps": 1},
    }
    plan = plan_job([Layer("test", values), Layer("changes", changes)])
    made = Run(folder / name) if resume else create_run(folder / name, recipe_yaml="{}", data_manifest=[])
    tracker = tracker or Memory()
    run_job(plan, made, tracker=tracker, resume=resume)
    return tracker, made


def said(memory: Memory) -> str:
    return " ".join(memory.of("message"))


def validation(memory: Memory) -> Sequence[float]:
    return [event.validation_loss for event in memory.of("evaluation")]


METHODS: dict[str, Any] = {
    "lora": {"name": "lora", "num_layers": 1, "rank": 4, "alpha": 8},
    "dora": DORA,
    "top_layers": {"name": "top_layers", "num_layers": 1},
    "freeze": {"name": "freeze", "train": [r"\.1\..*(mlp|attn)"]},
}


@pytest.mark.parametrize(
    ("architecture", "method", "packing"),
    [
        ("llama", "lora", "forest"),
        ("qwen3", "dora", "forest"),
        ("gemma3_text", "top_layers", "padding"),
        ("gpt2", "top_layers", "padding"),
        pytest.param("llama", "freeze", "padding", marks=pytest.mark.slow),
        pytest.param("gemma3_text", "dora", "forest", marks=pytest.mark.slow),
        pytest.param("mistral", "top_layers", "forest", marks=pytest.mark.slow),
        pytest.param("gpt2", "lora", "forest", marks=pytest.mark.slow),
    ],
)
def test_a_run_with_its_trunk_is_the_run_without(
    architecture: str, method: str, packing: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "method": METHODS[method],
        "architecture": architecture,
        "train": {"packing": packing},
    }
    whole, _ = run(tmp_path, "whole", "off", **options)
    crown, _ = run(tmp_path, "crown", "on", **options)
    assert "the lower 1 of 2 layers are frozen and computed once" in said(crown)
    assert len(whole.losses) == 12
    assert crown.losses == pytest.approx(whole.losses, abs=1e-10)
    assert validation(crown) == pytest.approx(validation(whole), abs=1e-10)


@pytest.mark.parametrize("objective", ["dpo", pytest.param("kto", marks=pytest.mark.slow)])
def test_preferences_and_their_reference(objective: str, tmp_path: Path) -> None:
    kind = "pairs" if objective == "dpo" else "labels"
    file = write(tmp_path / "pairs.jsonl", preference_rows(kind))
    options: dict[str, Any] = {
        "objective": objective,
        "data": {"train": file, "validation": file, "validation_share": 0},
        "train": {"batch_size": 4, "max_steps": 4},
    }
    whole, _ = run(tmp_path, "whole", "off", **options)
    crown, _ = run(tmp_path, "crown", "on", **options)
    assert "computed once" in said(crown) and "reference log-probabilities" in said(crown)
    assert crown.losses == pytest.approx(whole.losses, abs=1e-7)  # the reference is kept in float32
    assert validation(crown) == pytest.approx(validation(whole), abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_the_same_layout_every_bit_is_the_same(dtype: str, tmp_path: Path) -> None:
    """All rows in one step and one forest: what is kept was computed as the step computes it."""
    options: dict[str, Any] = {
        "data": {"validation_share": 0},
        "train": {"dtype": dtype, "batch_size": 24, "tokens_per_microbatch": 4096, "max_steps": 4},
    }
    whole, off = run(tmp_path, "whole", "off", **options)
    crown, on = run(tmp_path, "crown", "on", **options)
    assert whole.losses == crown.losses and len(whole.losses) == 4
    assert hash_file(off.model_folder / "adapter_model.safetensors") == hash_file(
        on.model_folder / "adapter_model.safetensors"
    )


def test_cold_warm_and_resumed_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": {"dtype": "float32"}, "optim": {"learning_rate": 1e-2}}
    cold, first = run(tmp_path, "cold", **options)
    warm, second = run(tmp_path, "warm", **options)
    assert "644 tokens computed now" in said(cold) and "0 tokens computed now" in said(warm)
    run(tmp_path, "stopped", tracker=Memory(stop_after=5), **options)
    TrunkCache(default_cache(), 0).clear()
    resumed, third = run(tmp_path, "stopped", resume=True, **options)
    assert "644 tokens computed now" in said(resumed)
    assert cold.losses == warm.losses and list(resumed.losses) == list(range(6, 13))
    assert resumed.losses.items() <= cold.losses.items()
    hashes = {hash_file(made.model_folder / "adapter_model.safetensors") for made in (first, second, third)}
    assert len(hashes) == 1


def test_the_crown_really_reads_the_store(tmp_path: Path) -> None:
    before, _ = run(tmp_path, "before")
    (facts,) = TrunkCache(default_cache(), 0).stores()
    (part,) = part_folders(facts.folder)
    store = TrunkStore(facts.folder, 32, torch.float64)
    keys = store._parts[part.name].keys_R
    writer = store.writer()
    writer.add(keys, torch.zeros(len(keys), 32))
    writer.flush()
    (part / "states.bin").unlink()  # so the zeros count
    after, _ = run(tmp_path, "after")
    assert "0 tokens computed now" in said(after)
    assert after.losses[1] != before.losses[1]


@pytest.mark.slow
def test_a_torn_part_is_computed_again(tmp_path: Path) -> None:
    before, _ = run(tmp_path, "before")
    (facts,) = TrunkCache(default_cache(), 0).stores()
    (part,) = part_folders(facts.folder)
    (part / "states.bin").write_bytes((part / "states.bin").read_bytes()[:-8])
    after, _ = run(tmp_path, "after")
    assert "644 tokens computed now" in said(after) and not part.exists()
    assert after.losses == before.losses


@pytest.mark.slow
def test_runs_share_what_they_have_in_common(tmp_path: Path) -> None:
    """Another seed, another method and more rows: the same base and depth."""
    run(tmp_path, "first")
    again, _ = run(tmp_path, "again", method=METHODS["top_layers"], train={"seed": 1})
    assert " 0 tokens computed now" in said(again)
    more = chat_file(tmp_path / "more.jsonl", 30)
    third, _ = run(tmp_path, "third", data={"train": str(more)})
    assert "computed now" in said(third) and "644 were there" in said(third)
    other, _ = run(tmp_path, "other", train={"packing": "padding"})
    assert "644 tokens computed now" in said(other)  # another attention, other roundings
    assert len(TrunkCache(default_cache(), 0).stores()) == 2


def test_only_the_rows_of_the_steps_that_are_taken_are_computed(tmp_path: Path) -> None:
    some, _ = run(tmp_path, "some", data={"validation_share": 0}, train={"max_steps": 1})
    assert 100 < int(said(some).split("computed once: ")[1].split()[0]) < 400


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("something below its layers trains", {"method": {"name": "freeze", "train": ["embed_tokens", r"\.1\."]}}),
        ("draw random numbers", {"model": "gpt2"}),
        ("noise on the embeddings", {"train": {"neftune_alpha": 5}}),
        ("virtual tokens", {"method": {"name": "prompt", "num_tokens": 4}, "data": {"max_length": 256}}),
        ("train.trunk_cache_gb is 1e-05", {"train": {"trunk_cache_gb": 1e-5}}),
        ("its lowest layer trains", {"method": {"name": "lora"}}),
    ],
    ids=["embeddings", "dropout", "noise", "virtual", "room", "lowest"],
)  # fmt: skip
def test_where_there_is_no_trunk_the_reason_is_said(
    reason: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    if "model" in changes:
        changes = {"model": base(tmp_path, "gpt2", dropout=True)}
    short = {"train": {"max_steps": 1} | changes.get("train", {})}
    memory, _ = run(tmp_path, "auto", "auto", **changes | short)
    assert (reason in said(memory)) == (reason != "its lowest layer trains")
    assert len(memory.losses) == 1
    with pytest.raises(ConfigError, match=f"train.trunk is on, .*{reason}"):
        run(tmp_path, "on", "on", **changes | short)


def test_recipes_that_ask_for_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.trunk_cache would do nothing: train\.trunk is off"):
        run(tmp_path, "off", "off", train={"trunk_cache": "here"})
    with pytest.raises(ConfigError, match=r"method\.num_layers: the model has 2 layers, got 3"):
        run(tmp_path, "three", method={**DORA, "num_layers": 3})
