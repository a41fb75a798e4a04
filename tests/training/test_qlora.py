"""QLoRA: an adapter over a base in 4 or 8 bits; held to PEFT over transformers' own quantised model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.cli.main import main
from luthier.errors import ConfigError, ModelError
from luthier.models.forward import causal_parts
from luthier.models.load import load_model, load_weights
from luthier.models.methods import apply_method, count_parameters
from luthier.models.quantized import Quantization
from luthier.training.learner import Learner, choose_cut
from tests.toy import tiny_model
from tests.training.test_job import run
from tests.training.toys import (
    VOCAB,
    Memory,
    chat_file,
    method_config,
    model_folder,
    random_rows,
    run_loop,
    same,
    weights_of,
)

pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
KINDS = ["nf4", "int8"]
IDS = torch.arange(5, 25)[None]


def base(tmp_path: Path, architecture: str = "llama") -> Path:
    """A base with matrices of several blocks of 64."""
    folder = tmp_path / f"base-{architecture}"
    if not folder.exists():
        tiny_model(architecture, vocab_size=VOCAB).save_pretrained(folder)
    return folder


def toy(tmp_path: Path, kind: str, seed: int = 0, architecture: str = "llama", **changes: Any) -> Any:
    model = load_weights(
        str(base(tmp_path, architecture)), torch.float32, quantization=Quantization(kind, double=True)
    )
    torch.manual_seed(seed)
    return apply_method(
        model, method_config("qlora", quantization=kind, rank=4, **changes), "toy", torch.float32
    )


def by_peft(folder: Path, kind: str) -> Any:
    """The way that the QLoRA example of PEFT goes."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    how = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
        if kind == "nf4"
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=how, dtype=torch.float32, device_map={"": "cpu"}
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear"
    )
    return get_peft_model(model, config)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_peft(kind: str, tmp_path: Path) -> None:
    mine, theirs = toy(tmp_path, kind, dropout=0.0), by_peft(base(tmp_path), kind)
    generator = torch.Generator().manual_seed(0)
    for (name, left), (other, right) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        assert (name, left.requires_grad) == (other, right.requires_grad)
        if left.requires_grad:
            assert left.dtype == torch.float32
            drawn = torch.randn(left.shape, generator=generator) * 0.1
            left.data.copy_(drawn)
            right.data.copy_(drawn)
    losses = [model.train()(input_ids=IDS, labels=IDS).loss for model in (mine, theirs)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    wanted = dict(theirs.named_parameters())
    for name, parameter in mine.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0
            torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_is_quantised_and_counted_whole(kind: str, tmp_path: Path) -> None:
    model = toy(tmp_path, kind)
    plain = load_weights(str(base(tmp_path)), torch.float32)
    held = {name: p for name, p in model.named_parameters() if "base_layer" in name}
    assert len(held) == 14 and {p.dtype for p in held.values()} == {
        torch.uint8 if kind == "nf4" else torch.int8
    }
    trained, total = count_parameters(model)
    assert total - trained == count_parameters(plain)[1]
    with torch.no_grad():
        expected = plain(input_ids=IDS).logits
        error = (model.eval()(input_ids=IDS).logits - expected).norm() / expected.norm()
    assert 1e-4 < error < (0.2 if kind == "nf4" else 0.03)  # quantised it is, and not more


def test_double_quantisation_is_asked_for(tmp_path: Path) -> None:
    for double in (True, False):
        model = load_weights(
            str(base(tmp_path)), torch.float32, quantization=Quantization("nf4", double=double)
        )
        assert model.model.layers[0].mlp.down_proj.weight.quant_state.nested is double


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "phi3", "gpt2"])
def test_rows_share_a_forest(architecture: str, kind: str, tmp_path: Path) -> None:
    model = toy(tmp_path, kind, architecture=architecture)
    _, notes = choose_cut(Learner(model, causal_parts(model), torch.device("cpu")), "auto")
    assert notes == []


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_it_is_the_straight_run(kind: str, tmp_path: Path) -> None:
    straight = toy(tmp_path, kind)
    _, told = run_loop(tmp_path / "straight", straight, num_steps=4)
    first = Memory(stop_after=2)
    run_loop(tmp_path / "stopped", toy(tmp_path, kind), num_steps=4, tracker=first, checkpoint_every=1000)
    resumed = toy(tmp_path, kind, seed=9)
    _, second = run_loop(tmp_path / "stopped", resumed, num_steps=4, resume=True)
    assert first.losses | second.losses == told.losses
    assert same(weights_of(resumed), weights_of(straight))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind: str, tmp_path: Path) -> None:
    rows = random_rows([9, 12, 7, 11])
    _, told = run_loop(tmp_path / "run", toy(tmp_path, kind), num_steps=20, rows=rows, checkpoint_every=100)
    assert told.losses[20] < 0.9 * told.losses[1]


def test_a_run_is_merged_on_the_full_precision_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, made, result = run(tmp_path, method={"name": "qlora", "rank": 4}, optim={"learning_rate": 1e-2})
    record = json.loads((result.model_folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert record["peft_type"] == "LORA"
    monkeypatch.setattr("sys.argv", ["luthier", "export", str(made.folder), "--out", str(tmp_path / "plain")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    merged = load_weights(str(tmp_path / "plain" / "hf"), torch.float32)
    full = load_weights(record["base_model_name_or_path"], torch.float32)
    adapter = load_model(str(result.model_folder), dtype="float32", device="cpu").model
    layer = adapter.get_base_model().model.layers[0].mlp.down_proj
    expected = full.model.layers[0].mlp.down_proj.weight + layer.get_delta_weight("default")
    torch.testing.assert_close(merged.model.layers[0].mlp.down_proj.weight, expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        ids = torch.arange(9)[None]
        torch.testing.assert_close(
            merged(input_ids=ids).logits, adapter(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_selftest_passes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = chat_file(tmp_path / "rows.jsonl", 6)
    folder = model_folder(tmp_path / "base")
    arguments = ["luthier", "selftest", "--data", str(data), "--model", str(folder), "--method", "qlora"]
    arguments += [f"method.quantization={kind}", "method.dropout=0", "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        main()
    words = {one["test"]: one["word"] for one in json.loads(capsys.readouterr().out)}
    for name in ("forest", "resume", "seed", "adapter", "save and load"):
        assert words[name] == "passed", words


def test_without_bitsandbytes_the_install_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.models.quantized.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[quant\]'"):
        toy(tmp_path, "nf4")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float32 at most"):
        load_weights(str(base(tmp_path)), torch.float64, quantization=Quantization("nf4"))
    with pytest.raises(ModelError, match="quantised base"):
        apply_method(tiny_model(), method_config("qlora"), "toy", torch.float32)
    with pytest.raises(ConfigError, match="double_quantization would do nothing"):
        run(tmp_path, method={"name": "qlora", "quantization": "int8", "double_quantization": True})
