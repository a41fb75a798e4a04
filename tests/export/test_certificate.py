"""Each thing that goes wrong when a model moves, made wrong on purpose: the certificate names it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import NotTheSame
from luthier.export.certificate.check import Asked, Domain, ask, certify, check_form
from luthier.export.certificate.forms import FolderForm, Trained
from luthier.export.certificate.page import render_page
from luthier.export.certificate.probes import built_in, from_rows
from luthier.export.certificate.verdict import Certificate, FormVerdict
from luthier.export.merge import merge
from luthier.models.load import load_model
from tests.export.toys import adapter_folder, base_folder, lora_config, teach_to_stop
from tests.toy import metaspace_tokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Asked]:
    """A folder with base, adapter and merged model, and what the trained one answers."""
    folder = tmp_path_factory.mktemp("forms")
    base = base_folder(folder / "base", family="llama3")
    adapter = adapter_folder(base, folder / "adapter", lora_config(), family="llama3")
    teach_to_stop(base, adapter)
    merge(str(adapter), folder / "merged")
    trained = Trained(load_model(str(adapter), dtype="float32"))
    probes, _ = built_in(trained.renderer)
    return folder, ask(trained, probes, max_new_tokens=12)


def broken(
    made: tuple[Path, Asked], tmp_path: Path, spoil: Callable[[Path], None], what: str = "merged"
) -> FormVerdict:
    folder = tmp_path / "broken"
    shutil.copytree(made[0] / what, folder)
    spoil(folder)
    return check_form(made[1], FolderForm(folder, device="cpu"))[0]


def edit(file: str, **changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**config, **changes}))

    return spoil


def edit_tensors(
    change: Callable[[str, torch.Tensor], torch.Tensor], file: str = "model"
) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = next(folder.glob(f"{file}*.safetensors"))
        save_file(
            {name: change(name, tensor).contiguous() for name, tensor in load_file(path).items()},
            path,
            {"format": "pt"},
        )

    return spoil


def drop_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def other_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("\\n\\n", "\\n"))


def double_bos(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text("{{- bos_token -}}" + path.read_text())


def swap_tokenizer(folder: Path) -> None:
    metaspace_tokenizer("llama3").save_pretrained(folder)


def permute(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """As llama.cpp keeps the rows of queries (4 heads) and keys (2 heads) of 8 channels."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    return tensor.view(-1, 2, 4, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)


def test_the_merged_folder_is_the_trained_model(made: tuple[Path, Asked]) -> None:
    verdict, _ = check_form(made[1], FolderForm(made[0] / "merged", device="cpu"))
    assert (verdict.word, verdict.causes) == ("equal within tolerance", ())
    words = {line.what: line.word for line in verdict.lines}
    assert words == {
        "tokenizer": "identical",
        "rendered tokens": "identical",
        "BOS and EOS": "identical",
        "stopping": "identical",
        "logits": "equal within tolerance",
        "answers": "identical",
    }
    assert any(reply.stopped for reply in made[1].replies)
    numbers = next(line.numbers for line in verdict.lines if line.what == "logits")
    assert numbers["relative"] < 1e-4 and numbers["top1"] == numbers["top5"] == 1 and numbers["kl"] < 1e-6


@pytest.mark.parametrize(
    ("spoil", "causes"),
    [
        (drop_template, ("template",)),
        (other_template, ("template",)),
        (double_bos, ("BOS",)),
        (edit("generation_config.json", eos_token_id=[3]), ("stop ids",)),
        (edit("generation_config.json", eos_token_id=None), ("stop ids",)),
        (swap_tokenizer, ("tokenizer",)),
        (edit_tensors(permute), ("permuted heads",)),
        (
            edit_tensors(lambda name, tensor: tensor.roll(1, 0) if "down_proj" in name else tensor),
            ("weights",),
        ),
    ],
)
def test_what_is_broken_in_a_merged_folder_is_named(
    spoil: Callable[[Path], None], causes: tuple[str, ...], made: tuple[Path, Asked], tmp_path: Path
) -> None:
    verdict = broken(made, tmp_path, spoil)
    assert verdict.word == "different"
    assert verdict.causes == causes, verdict.lines


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (edit_tensors(lambda _, tensor: tensor * 0, "adapter_model"), "adapter not applied"),
        (edit("adapter_config.json", lora_alpha=16), "scale"),
        (edit("adapter_config.json", use_rslora=True), "scale"),
    ],
)
def test_what_is_broken_in_an_adapter_is_named(
    spoil: Callable[[Path], None], cause: str, made: tuple[Path, Asked], tmp_path: Path
) -> None:
    verdict = broken(made, tmp_path, spoil, "adapter")
    assert (verdict.word, verdict.causes[0]) == ("different", cause)
    logits = next(line for line in verdict.lines if line.what == "logits")
    assert cause == "adapter not applied" or "2 times its strength" in logits.detail


def test_rounding_that_was_not_declared_is_a_dtype(made: tuple[Path, Asked], tmp_path: Path) -> None:
    verdict = broken(made, tmp_path, edit_tensors(lambda _, tensor: tensor.bfloat16().float()))
    assert verdict.causes[0] == "dtype"
    declared, _ = check_form(made[1], FolderForm(tmp_path / "broken", precision="bfloat16", device="cpu"))
    assert declared.word == "equal within tolerance"


def test_the_base_as_a_candidate_has_no_adapter(made: tuple[Path, Asked]) -> None:
    verdict, _ = check_form(made[1], FolderForm(made[0] / "base", device="cpu"))
    assert verdict.causes[0] == "adapter not applied"


def test_a_form_that_differs_is_refused_or_accepted_aloud(made: tuple[Path, Asked]) -> None:
    def base(_: Any) -> Any:
        return FolderForm(made[0] / "base", device="cpu"), {"model.safetensors": "sha256:0"}

    certificate = certify(made[1], [base])
    with pytest.raises(NotTheSame, match="adapter not applied"):
        certificate.require()
    accepted = Certificate(certificate.model, certificate.num_probes, certificate.forms, accepted="a test")
    assert accepted.require().to_dict()["accepted"] == "a test"
    page = render_page(accepted)
    assert "adapter not applied" in page and "a test" in page and "<script" not in page


def test_the_domain_score_has_an_interval(made: tuple[Path, Asked]) -> None:
    trained = made[1].trained
    probes = from_rows([list(probe.messages) for probe in made[1].probes[:4]])
    right = [reply.text for reply in trained.answers(probes, 12)]
    seen: list[str] = []

    def grade(number: int, text: str) -> float:
        seen.append(text)
        return float(text == trained.renderer.parse(trained.answers(probes, 12)[number].token_ids or ()).text)

    domain = Domain(probes, grade, lambda grades: (min(grades), max(grades)))
    asked = ask(trained, list(made[1].probes[:2]), max_new_tokens=12, domain=domain)
    same, _ = check_form(asked, FolderForm(made[0] / "merged", device="cpu"))
    other, _ = check_form(asked, FolderForm(made[0] / "base", device="cpu"))
    assert len(right) == 4 and len(seen) == 12
    lines = [next(line for line in verdict.lines if line.what == "domain score") for verdict in (same, other)]
    assert (lines[0].word, lines[0].numbers["score"]) == ("identical", 1.0)
    assert (lines[1].word, lines[1].cause) == ("different", "adapter not applied")
