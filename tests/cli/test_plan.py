"""`luthier plan` as a person runs it: a table, JSON, devices by name, shared ones, money, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import save_file
from transformers import LlamaConfig
from typer.testing import CliRunner

from luthier.cli.foresight import foresee
from luthier.cli.main import app
from luthier.config import Layer
from luthier.errors import ConfigError, LuthierError
from luthier.registry.runs import create_run
from luthier.training.forecast.memory import state_numbers
from luthier.training.plan import plan_job
from tests.toy import byte_tokenizer, tiny_model


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a tiny model in `model` and rows in `rows.jsonl`."""
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained("model")
    tiny_model(vocab_size=len(tokenizer)).save_pretrained("model")
    rows = [{"prompt": f"How long is {n}?", "completion": f"{n} metres."} for n in range(20)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


SMALL = ("data.max_length=32", "train.tokens_per_microbatch=128", "train.batch_size=4")


def plan(*words: str) -> str:
    result = CliRunner().invoke(app, ["plan", "--model", "model", *SMALL, *words], env={"COLUMNS": "160"})
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def plan_json(*words: str) -> Any:
    return json.loads(plan(*words, "--json"))


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, ["plan", "--model", "model", *SMALL, *words])
    assert result.exit_code != 0 and isinstance(result.exception, LuthierError), result.output
    return str(result.exception)


@pytest.mark.slow
def test_a_table_of_methods_and_where_the_rows_come_from(workplace: Path) -> None:
    said = plan("--no-measure", "--device", "t4")
    assert "No rows were given" in said and "t4: 16.0 GB, float32" in said
    assert all(method in said for method in ("full", "top_layers", "lora", "dora", "ia3"))
    assert "no forecast has been compared" in said
    own = plan("--no-measure", "--device", "t4", "--data", "rows.jsonl", "--method", "ia3")
    assert "No rows were given" not in own and "20 rows" not in own and "steps of" in own


def test_json_has_the_keys_that_the_docs_name(workplace: Path) -> None:
    found = plan_json(
        "--data", "rows.jsonl", "--method", "lora", "--device", "h100", "--price-per-hour", "3.6"
    )
    assert set(found) == {"forecasts", "no_forecast", "workload", "measured", "track_record", "busy"}
    (one,) = found["forecasts"]
    assert (one["method"], one["device"], one["dtype"], one["fits"]) == ("lora", "h100", "bfloat16", True)
    parts = ("weights", "adapter", "gradients", "optimizer", "activations", "loss", "overhead")
    assert sum(one["memory"][part] for part in parts) == one["memory"]["training"]
    assert one["time"]["cost"] == pytest.approx(one["time"]["total_seconds"] / 1000)
    assert found["workload"]["rows"] == 20 and found["measured"] is None and found["busy"] is None


@pytest.mark.slow
def test_shared_devices_hold_less_and_cost_more(workplace: Path) -> None:
    options = ("--data", "rows.jsonl", "--method", "full", "--device", "a100-80", "--price-per-hour", "2")
    alone = plan_json(*options)["forecasts"][0]
    four = {
        strategy: plan_json(*options, "--num-devices", "4", "--strategy", strategy)["forecasts"][0]
        for strategy in ("ddp", "zero1", "zero3")
    }
    assert alone["strategy"] == "none" and four["zero3"]["num_devices"] == 4
    assert four["ddp"]["memory"]["optimizer"] == alone["memory"]["optimizer"]
    assert four["zero1"]["memory"]["optimizer"] == alone["memory"]["optimizer"] // 4
    assert four["zero3"]["memory"]["weights"] == alone["memory"]["weights"] // 4
    hours = four["zero3"]["time"]["total_seconds"] / 3600
    assert four["zero3"]["time"]["cost"] == pytest.approx(hours * 2 * 4)


@pytest.mark.slow
def test_this_machine_is_measured_and_cpu_is_another_name_of_it(workplace: Path) -> None:
    options = ("--data", "rows.jsonl", "--method", "top_layers", "method.num_layers=1")
    found = plan_json(*options, "--device", "cpu")
    (made,), measured = found["forecasts"], found["measured"]
    assert made["device"].startswith("this machine") and made["trunk_cache_bytes"] > 0
    assert measured["peak_memory_bytes"] > 1e8 and measured["trunk_nodes_per_second"] > 0
    assert 0 <= found["busy"] <= 1
    at_least = (
        found["workload"]["steps"] * found["workload"]["computed_per_step"] / measured["nodes_per_second"]
    )
    assert at_least < measured["time"]["total_seconds"] < 3 * at_least


def test_here_is_this_machine_and_qlora_is_among_the_methods(workplace: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    options = ("--data", "rows.jsonl", "--no-measure")
    lora, qlora = (plan_json(*options, "--method", name)["forecasts"][0] for name in ("lora", "qlora"))
    assert lora["device"] == qlora["device"] and lora["trained_parameters"] == qlora["trained_parameters"]
    assert lora["all_parameters"] == qlora["all_parameters"]
    assert qlora["memory"]["weights"] < lora["memory"]["weights"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--device", "tpu"), "expected here, cpu or one of t4"),
        (("--num-devices", "2", "--strategy", "zero9"), "strategy: expected ddp"),
        (("--data", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--method", "magic"), "magic"),
        (("--device", "t4", "--measure"), "name --device here"),
        (("--measure", "--method", "lora", "objective=reward"), "language models alone"),
        (("--method", "qlora", "method.quantization=int8", "--device", "t4"), "no forecast"),
        (("train.batchsize=3",), "batchsize"),
    ],
)
def test_bad_input_is_named(words: tuple[str, ...], expected: str, workplace: Path) -> None:
    assert expected in refused(*words)


def test_a_run_that_exceeds_the_memory_is_warned_of(workplace: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained("huge")
    LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16384, intermediate_size=65536, num_hidden_layers=120,
        num_attention_heads=128,
    ).save_pretrained("huge")  # fmt: skip
    save_file({}, "huge/model.safetensors")  # no weight is read for a forecast
    values = {"model": "huge", "method": "full", "data": "rows.jsonl", "train": {"dtype": "float32"}}
    made = plan_job([Layer("test", values)])
    run = create_run(workplace / "runs/huge", recipe_yaml="{}", data_manifest=[])
    with Path("said.txt").open("w") as file:
        found = foresee(made, run, Console(file=file, width=200))
    assert found is not None and not found.fits
    said = Path("said.txt").read_text()
    assert "this run may not fit" in said and "would fit with method=lora" in said
    assert json.loads((run.folder / "forecast.json").read_text())["fits"] is False


def test_an_optimizer_that_nobody_counted_is_no_forecast() -> None:
    with pytest.raises(ConfigError, match=r"optim\.name=adamw_3bit: how much it keeps is not known"):
        state_numbers("adamw_3bit")
