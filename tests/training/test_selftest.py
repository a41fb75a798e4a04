"""The selftest is green on a right trainer, and each of its tests goes red on the fault that it is there for."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.chat.render import Renderer
from luthier.cli.main import main
from luthier.config import Layer
from luthier.models import attention, load, trunk_store
from luthier.training import checkpoint, job
from luthier.training.objective_config import SftObjective
from luthier.training.objectives import LossSums, Objective, Outputs, Targets, make_objective
from luthier.training.plan import plan_job
from luthier.training.selftest import TESTS, Word, arithmetic, run_selftest
from luthier.training.selftest import bench as bench_module
from tests.toy import byte_tokenizer, tiny_model
from tests.training.test_preference_job import layers as preference_layers
from tests.training.toys import chat_file, method_config, model_folder

# Marks that take in the end of turn and only the first characters of what the assistant says.
HALF_MARKED = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content[:6] }}{% endgeneration %}{{ message.content[6:] }}"
    "{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selftest")
    model_folder(folder / "base", tie_word_embeddings=True)
    chat_file(folder / "rows.jsonl")
    return folder


def plan(place: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "model": str(place / "base"),
        "data": str(place / "rows.jsonl"),
        "optim": {"learning_rate": 1e-2},
        "train": {"dtype": "float32", "device": "cpu"},
    }
    return plan_job([Layer("test", values), Layer("changes", changes)])


def one(name: str, place: Path, **changes: Any) -> Any:
    return run_selftest(plan(place, **changes), tests={name: TESTS[name]})[name]


def refused(name: str, said: str, place: Path, **changes: Any) -> None:
    proof = one(name, place, **changes)
    assert proof.word is Word.FAILED, proof
    assert said in proof.why, proof.why


LORA = {"name": "lora", "rank": 32, "alpha": 64}


@pytest.mark.parametrize("method", ["full", pytest.param(LORA, marks=pytest.mark.slow)])
def test_every_test_passes_on_a_right_trainer(method: Any, place: Path) -> None:
    proofs = run_selftest(plan(place, method=method))
    words = dict.fromkeys(TESTS, Word.PASSED) | {"trunk": Word.SKIPPED}  # the lowest layer trains
    assert {name: proof.word for name, proof in proofs.items()} == words, proofs
    assert proofs["forest"].numbers["dtype"] == "float64"
    assert proofs["forest"].numbers["computed"] < proofs["forest"].numbers["tokens"]
    assert ("It is" in "".join(text for text, learnt in proofs["mask"].picture if learnt)) is True
    assert "What is" not in "".join(text for text, learnt in proofs["mask"].picture if learnt)


def test_frozen_layers_are_computed_once_and_give_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = {"name": "dora", "num_layers": 1}
    proof = one("trunk", place, method=method)
    assert proof.word is Word.PASSED and proof.numbers["layers"] == [1, 2]
    assert one("trunk", place, method=method, train={"trunk": "off"}).word is Word.SKIPPED
    read = trunk_store.TrunkStore.read
    monkeypatch.setattr(trunk_store.TrunkStore, "read", lambda store, keys: read(store, keys) * 1.01)
    refused("trunk", "give another loss or gradient", place, method=method)


@pytest.mark.parametrize(
    "architecture",
    ["gemma2", "gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mistral", "qwen3"))],
)
def test_the_comparisons_hold_on_other_architectures(architecture: str, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tiny_model(architecture, vocab_size=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    chat_file(tmp_path / "rows.jsonl")
    names = ("forest", "accumulation", "padding", "adapter", "save and load")
    found = run_selftest(plan(tmp_path), tests={name: TESTS[name] for name in names})
    assert {proof.word for proof in found.values()} == {Word.PASSED}, found


@pytest.mark.parametrize(
    "method",
    [
        "top_layers",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("freeze", "dora", "pissa", "ia3", "prefix")
        ),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("adapter", "prompt")),
    ],
)
def test_every_method_is_tested(method: str, place: Path) -> None:
    data = {"train": str(place / "rows.jsonl"), "max_length": 512}
    made = plan(place, method=method_config(method).model_dump(exclude_none=True), data=data)
    tests = {
        name: test for name, test in TESTS.items() if name != "overfit"
    }  # the base knows nothing to steer
    found = run_selftest(made, tests=tests)
    words = dict.fromkeys(tests, Word.PASSED)
    if method != "top_layers":
        words["trunk"] = Word.SKIPPED  # the lowest layer trains
    assert {name: proof.word for name, proof in found.items()} == words, found


@pytest.mark.parametrize(
    ("objective", "kind"),
    [
        ("dpo", "pairs"),
        pytest.param("orpo", "pairs", marks=pytest.mark.slow),
        pytest.param("kto", "labelled", marks=pytest.mark.slow),
    ],
)
def test_preferences_are_run_and_what_is_not_tested_is_said(
    objective: str, kind: str, tmp_path: Path
) -> None:
    found = run_selftest(plan_job(preference_layers(tmp_path, objective, kind, method="lora")))
    passed = {name for name, proof in found.items() if proof.word is Word.PASSED}
    assert passed == {"resume", "seed", "adapter", "save and load"}, found
    skipped = [proof for name, proof in found.items() if name not in passed]
    assert all(proof.word is Word.SKIPPED and proof.why.startswith(objective) for proof in skipped), skipped


def test_few_rows_of_preferences_stay_whole(tmp_path: Path) -> None:
    made = plan_job(preference_layers(tmp_path, "kto", "labelled"))
    few, whole = bench_module.take(made.train_rows, [5, 2]), made.train_rows
    assert whole.units is not None and whole.beside is not None
    assert few.units is not None and few.beside is not None
    assert few.units.roles_R.tolist() == whole.units.roles_R[[2, 5]].tolist()
    for number, index in enumerate((2, 5)):
        assert np.array_equal(few.row(number)[0], whole.row(index)[0])
        assert np.array_equal(few.beside.row(number)[0], whole.beside.row(index)[0])
    pairs = plan_job(preference_layers(tmp_path, "dpo", "pairs")).train_rows
    one = bench_module.take(pairs, [3])  # the rejected answer of the second pair brings the chosen one
    assert one.num_rows == 2 and one.num_units == 1 and np.array_equal(one.row(0)[0], pairs.row(2)[0])


def test_an_average_and_noise_keep_no_row_from_being_learnt(place: Path) -> None:
    train = {"dtype": "float32", "device": "cpu", "ema_decay": 0.99, "neftune_alpha": 5.0}
    names = ("resume", "adapter", "save and load", "overfit")
    found = run_selftest(plan(place, method="full", train=train), tests={name: TESTS[name] for name in names})
    assert {proof.word for proof in found.values()} == {Word.PASSED}, found


def test_documents_have_no_template_to_test(place: Path) -> None:
    path = place / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"The answer is {n}."}) + "\n" for n in range(12)))
    found = run_selftest(plan(place, objective="cpt", data=str(path), method="full"))
    words = {name: proof.word for name, proof in found.items()}
    assert {name for name, word in words.items() if word is Word.SKIPPED} == {"template", "trunk", "overfit"}
    assert Word.FAILED not in words.values(), found


def test_a_template_that_marks_half_of_an_answer(place: Path) -> None:
    (place / "half.jinja").write_text(HALF_MARKED)
    refused("mask", "2 stretches of tokens are learnt", place, model={"template": str(place / "half.jinja")})


def test_a_row_that_is_trained_behind_another_prompt(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Renderer.prompt
    made = plan(place)
    monkeypatch.setattr(Renderer, "prompt", lambda self, *given: [1, *prompt(self, *given)[1:]])
    proof = run_selftest(made, tests={"template": TESTS["template"]})["template"]
    assert proof.word is Word.FAILED and "behind other tokens than a served model is shown" in proof.why


def test_attention_that_leaks_between_rows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(self: Any, window: int | None) -> torch.Tensor:
        count = len(self.depths_N)
        if count < 40:  # the probe's three short rows are right
            return mask(self, window)
        return torch.ones(count, count, dtype=torch.bool).tril()

    mask = attention.Layout.mask
    monkeypatch.setattr(attention.Layout, "mask", leaky)
    refused("forest", "rows see each other", place)


def test_a_loss_that_depends_on_the_micro_batch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = make_objective(SftObjective(name="sft", label_smoothing=0.0)).loss

    def mean_of_means(outputs: Outputs, targets: Targets) -> LossSums:
        return LossSums(right(outputs, targets).loss_sum / len(targets.weights_M) * 8)

    changed = Objective("sft", "chat", mean_of_means)
    monkeypatch.setattr(arithmetic, "make_objective", lambda config: changed)
    refused("accumulation", "another step than the large batch", place)


def with_model(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Every model that trains is changed first."""
    right = job.model_to_train

    def changed(made: Any) -> Any:
        model = right(made)
        change(model)
        return model

    monkeypatch.setattr(job, "model_to_train", changed)
    monkeypatch.setattr(bench_module, "model_to_train", changed)


def test_a_model_that_looks_behind_a_token(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_ahead(module: Any, given: Any, output: Any) -> Any:
        return output + output.mean(dim=1, keepdim=True)

    with_model(monkeypatch, lambda model: model.model.layers[0].mlp.register_forward_hook(look_ahead))
    refused("padding", "tokens see what stands behind them", place, method="full")


def test_an_optimizer_that_is_not_saved(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_unpack_optimizers", lambda *given: None)
    refused("resume", "the curve jumps: the loss of step 4", place)


def test_random_numbers_that_are_not_saved(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_unpack_random", lambda *given: None)
    refused("resume", "the curve jumps: the loss of step 3", place, method={"name": "lora", "dropout": 0.5})


def test_a_checkpoint_that_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.CheckpointStore, "load_latest", lambda *given: None)
    refused("resume", "taken up after step 0", place)


def test_dropout_without_a_seed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*given: Any) -> None:
        torch.manual_seed(int.from_bytes(os.urandom(4), "big"))

    with_model(monkeypatch, lambda model: model.get_base_model().model.register_forward_pre_hook(draw))
    refused(
        "seed", "random numbers that the seed does not set", place, method={"name": "lora", "dropout": 0.5}
    )


def test_a_seed_that_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeded(0))
    monkeypatch.setattr("luthier.data.batches._epoch_order", lambda seed, epoch, count: np.arange(count))
    refused("seed", "train.seed is not used", place)


def test_an_adapter_that_is_not_applied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "attach_adapter", lambda model, folder: model)
    refused("adapter", "is not applied when it is loaded", place)
    refused("save and load", "gives other logits", place)


def test_an_adapter_that_does_not_start_from_zero(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(model: Any) -> None:
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)

    with_model(monkeypatch, fill)
    refused("adapter", "training starts from something else", place)


def test_an_end_of_turn_that_is_not_learnt(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Renderer._weigh

    def without_end(self: Renderer, weights: list[float], whole: Any, *given: Any) -> None:
        right(self, weights, whole, *given)
        for k, token in enumerate(whole.ids):
            if token == self.end_of_turn_id:
                weights[k] = 0.0

    monkeypatch.setattr(Renderer, "_weigh", without_end)
    refused("mask", "has no end of turn", place)
    refused("overfit", "does not stop behind it", place, method="full")


@pytest.mark.slow
def test_a_row_that_cannot_be_learnt(place: Path) -> None:
    refused("overfit", "cannot learn one row", place, optim={"learning_rate": 1e-9})


def test_the_rest_runs_when_one_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Renderer, "parse", broken)
    names = ("mask", "template", "padding")
    found = run_selftest(plan(place), tests={name: TESTS[name] for name in names})
    assert [proof.word.value for proof in found.values()] == ["failed", "failed", "passed"]
    assert "ZeroDivisionError: a bug" in found["mask"].why


def test_the_command(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*options: str) -> tuple[Any, str]:
        recipe = ["--data", str(place / "rows.jsonl"), "--model", str(place / "base"), "train.dtype=float32"]
        monkeypatch.setattr(sys, "argv", ["luthier", "selftest", *recipe, *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, capsys.readouterr().out

    code, text = call("--method", "full", "optim.learning_rate=1e-2", "--json")
    found = json.loads(text)
    assert code == 0 and [one["test"] for one in found] == list(TESTS)
    assert {one["test"] for one in found if one["word"] != "passed"} == {"trunk"}
    monkeypatch.setattr(load, "attach_adapter", lambda model, folder: model)
    code, text = call("--method", "lora")
    assert code == 1 and "failed   adapter" in text and "⟦It is" in text
