"""Every method in the real loop: the loss falls, a stopped run goes on bit for bit, the seed decides the start."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.cli.main import main
from luthier.models.forward import causal_parts
from luthier.models.generate import Sampling, generate
from luthier.models.load import load_model
from luthier.models.method_table import METHODS
from luthier.models.methods import APPLY, apply_method
from luthier.training.learner import Learner, choose_cut
from tests.toy import tiny_model
from tests.training.test_job import run
from tests.training.toys import (
    VOCAB,
    Memory,
    method_config,
    optim_config,
    random_rows,
    run_loop,
    same,
    weights_of,
)

NEW = ["freeze", "pissa", "ia3", "adapter", "prompt", "prefix"]
RATES = {"ia3": 0.1, "prompt": 0.1, "prefix": 0.1}


def toy(method: str, seed: int = 0) -> Any:
    model = tiny_model(vocab_size=VOCAB)
    torch.manual_seed(seed)
    return apply_method(model, method_config(method), "toy", torch.float32)


def test_the_table_and_the_methods_are_the_same() -> None:
    assert METHODS.keys() == APPLY.keys()


@pytest.mark.parametrize("method", NEW)
def test_the_loss_falls(method: str, tmp_path: Path) -> None:
    optim = optim_config(learning_rate=RATES.get(method, 1e-2), schedule="constant")
    rows = random_rows([9, 12, 7, 11])
    rows.token_ids[rows.weights > 0] = 7  # one answer to everything: what little can be trained is enough
    _, told = run_loop(tmp_path, toy(method), num_steps=20, optim=optim, rows=rows, checkpoint_every=100)
    assert told.losses[20] < 0.96 * told.losses[1]


@pytest.mark.parametrize("method", NEW)
def test_resumed_it_is_the_straight_run(method: str, tmp_path: Path) -> None:
    straight = toy(method)
    _, told = run_loop(tmp_path / "straight", straight, num_steps=4)
    first = Memory(stop_after=2)
    run_loop(tmp_path / "stopped", toy(method), num_steps=4, tracker=first, checkpoint_every=1000)
    resumed = toy(method)
    _, second = run_loop(tmp_path / "stopped", resumed, num_steps=4, resume=True)
    assert first.losses | second.losses == told.losses
    assert same(weights_of(resumed), weights_of(straight))


@pytest.mark.parametrize("method", ["adapter", "prompt", "prefix"])
def test_the_seed_decides_the_start(method: str) -> None:
    starts = [weights_of(toy(method, seed)) for seed in (1, 1, 2)]
    assert same(starts[0], starts[1]) and not same(starts[0], starts[2])


@pytest.mark.parametrize("method", ["freeze", "pissa", "ia3", "adapter"])
def test_rows_share_a_forest(method: str) -> None:
    model = toy(method)
    _, notes = choose_cut(Learner(model, causal_parts(model), torch.device("cpu")), "auto")
    assert notes == [] and METHODS[method].packing == "forest"


SETTINGS = {
    "freeze": {"freeze": ["embed"]},
    "pissa": {"rank": 4, "alpha": 4},
    "adapter": {"placement": "pfeiffer", "size": 8},
    "prompt": {"num_tokens": 3},
    "prefix": {"num_tokens": 3, "projection_size": 8},
}


@pytest.mark.parametrize("method", NEW)
def test_a_run_is_saved_loaded_asked_and_exported_or_refused(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(
        "luthier.training.job.save_trained",
        lambda model, *rest: (trained.append(model), save_trained(model, *rest)),
    )
    from luthier.models.methods import save_trained

    _, made, result = run(
        tmp_path, method={"name": method, **SETTINGS.get(method, {})}, data={"max_length": 512}
    )
    loaded = load_model(str(result.model_folder), dtype="float32", device="cpu")
    ids = torch.arange(9)[None]
    with torch.no_grad():
        expected = trained[0].eval()(input_ids=ids).logits
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)
    answers = generate(loaded, [[5, 6, 7], [8, 9]], Sampling(max_new_tokens=5))
    assert [len(answer) for answer in answers] == [5, 5]
    # Padded at the left to the longest, an answer is the one that it is alone.
    assert answers[1] == generate(loaded, [[8, 9]], Sampling(max_new_tokens=5))[0]
    monkeypatch.setattr("sys.argv", ["luthier", "export", str(made.folder), "--out", str(tmp_path / "plain")])
    with pytest.raises(SystemExit) as ended:
        main()
    if METHODS[method].mergeable:
        assert (ended.value.code, (tmp_path / "plain" / "certificate.json").exists()) == (0, True)
    else:
        assert "cannot be merged" in capsys.readouterr().err
        assert not (tmp_path / "plain").exists()
