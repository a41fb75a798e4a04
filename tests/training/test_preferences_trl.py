"""The losses and gradients of whole steps are those of TRL's own trainers, on the same tiny model and rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests
from luthier.models.methods import apply_full
from luthier.training.loop import LoopConfig, forward_backward
from luthier.training.objectives import make_objective
from tests.toy import byte_tokenizer, tiny_model
from tests.training.pairs import DPO, HINGE, IPO, KTO, random_feedback, random_units
from tests.training.test_preferences import gradients, learner_of

SETTINGS: dict[str, Any] = {"use_cpu": True, "report_to": [], "bf16": False, "gradient_checkpointing": False}


def padded(dataset: TokenDataset, rows: list[int], prefix: str = "") -> dict[str, Tensor]:
    """Rows as TRL's collators lay them out."""
    ids = [torch.from_numpy(dataset.row(row)[0].copy()).long() for row in rows]
    masks = [torch.from_numpy(dataset.row(row)[1] != 0).long() for row in rows]
    return {
        f"{prefix}input_ids": pad_sequence(ids, batch_first=True),
        f"{prefix}attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
        f"{prefix}completion_mask": pad_sequence(masks, batch_first=True),
    }


def reference(dataset: TokenDataset, rows: list[int]) -> Tensor:
    assert dataset.units is not None and dataset.units.reference_R is not None
    return torch.from_numpy(dataset.units.reference_R[rows])


def assert_same_step(config: Any, dataset: TokenDataset, trainer: Any, batch: dict[str, Tensor]) -> None:
    trainer.precompute_ref_logps = True
    trainer.model.eval()
    theirs = trainer._compute_loss(trainer.model, batch, False)
    theirs.backward()
    wanted = gradients(trainer.model)
    model = apply_full(tiny_model("llama"))
    learner = learner_of(model, forests)
    batches = forests(dataset, range(dataset.num_rows), 20)
    assert len(batches) > 1
    settings = LoopConfig(1, 1, 1, clip_norm=1e9)
    loss, _ = forward_backward(learner, make_objective(config), batches, list(model.parameters()), settings)
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    got = gradients(model)
    assert got.keys() == wanted.keys()
    largest = max(float(one.abs().max()) for one in wanted.values())
    for name, want in wanted.items():
        torch.testing.assert_close(got[name], want, rtol=1e-3, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("config", [DPO, IPO, HINGE], ids=lambda one: one.loss)
def test_dpo(config: Any, tmp_path: Path) -> None:
    dataset = random_units()
    rows = Dataset.from_list([{"prompt": "Who?", "chosen": "You.", "rejected": "No."}] * 2)
    args = DPOConfig(output_dir=str(tmp_path), beta=config.beta, loss_type=[config.loss], **SETTINGS)
    trainer = DPOTrainer(
        tiny_model("llama"),
        ref_model=tiny_model("llama"),
        args=args,
        train_dataset=rows,
        processing_class=byte_tokenizer(),
    )
    chosen, rejected = list(range(0, dataset.num_rows, 2)), list(range(1, dataset.num_rows, 2))
    batch = padded(dataset, chosen + rejected) | {
        "ref_chosen_logps": reference(dataset, chosen),
        "ref_rejected_logps": reference(dataset, rejected),
    }
    assert_same_step(config, dataset, trainer, batch)


def test_kto(tmp_path: Path) -> None:
    dataset = random_feedback()
    assert dataset.beside is not None and dataset.units is not None
    rows = Dataset.from_list([{"prompt": "Who?", "completion": "You.", "label": True}] * 2)
    weights = {"desirable_weight": KTO.desirable_weight, "undesirable_weight": KTO.undesirable_weight}
    args = KTOConfig(
        output_dir=str(tmp_path), beta=KTO.beta, per_device_train_batch_size=2, **weights, **SETTINGS
    )
    trainer = KTOTrainer(
        tiny_model("llama"),
        ref_model=tiny_model("llama"),
        args=args,
        train_dataset=rows,
        processing_class=byte_tokenizer(),
    )
    every = list(range(dataset.num_rows))
    batch = padded(dataset, every) | padded(dataset.beside, every, "KL_")
    batch |= {"ref_logps": reference(dataset, every), "ref_KL_logps": reference(dataset.beside, every)}
    batch["label"] = torch.from_numpy(dataset.units.roles_R == 1)
    assert_same_step(KTO, dataset, trainer, batch)
