"""What ships goes before the specialist's gate once more; the hash of its files is in the verdict."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.export.toys import adapter_folder, base_folder, lora_config, teach_to_stop

from luthier.errors import EvaluationError, ExportError
from luthier.evaluation.gate import Policy
from luthier.export.shipment import parse_form
from luthier.export.write import plan_export
from luthier.hashing import hash_file
from luthier.pipeline.exporting import Exported, ExportJob, export_forms
from luthier.pipeline.form_gate import FORM_VERDICT
from luthier.pipeline.gate import GateJob, run_gate
from luthier.pipeline.gate_sets import VERDICT
from luthier.pipeline.identity import model_hash
from luthier.pipeline.shipping import find_shipment
from luthier.registry.specialist import Specialist
from luthier.registry.specialist_lineage import lineage, render_tree
from luthier.registry.specialists import SpecialistStore


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store: an adapter over a tiny base, kept with the verdict of a gate."""
    place = tmp_path_factory.mktemp("gated")
    base = base_folder(place / "base")
    adapter = adapter_folder(base, place / "adapter", lora_config())
    teach_to_stop(base, adapter)
    store = SpecialistStore(place / "store")
    parts = {f"model/{path.name}": path for path in adapter.iterdir()}
    details = {
        "form": "adapter",
        "base": {"name": str(base), "hash": model_hash(str(base))},
        "system_prompt": "Answer in metres.",
        "sampling": {"temperature": 0.0},
    }
    one, _ = store.commit("lengths", parts, details)
    items = [{"question": f"How long is {n}?", "answer": f"{n} metres."} for n in range(6)]
    asked = [{"question": f"What is {n}?", "refuse": False, "grader": "refusal"} for n in range(3)]
    train = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(place / "cache"))
        run_gate(
            GateJob(
                candidate=one.ref,
                champion=str(base),
                champion_system="Be brief.",
                out=place / "gates" / "one",
                items=(write(place / "items.jsonl", items),),
                ordinary=write(place / "ordinary.jsonl", asked),
                train=(str(write(place / "train.jsonl", train)),),
                policy=Policy.model_validate({"golden": {"required": False}}),
                max_new_tokens=6,
                store=store,
            )
        )
    return place


@pytest.fixture
def kept(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SpecialistStore, Specialist]:
    """The store, of one test alone."""
    monkeypatch.setenv("LUTHIER_CACHE", str(made / "cache"))
    monkeypatch.setenv("LUTHIER_SPECIALISTS", str(shutil.copytree(made / "store", tmp_path / "store")))
    store = SpecialistStore(tmp_path / "store")
    return store, store.find("lengths")


def export(out: Path, *forms: str, **changes: Any) -> Exported:
    found = find_shipment("lengths")
    plan = plan_export(found.shipment, [parse_form(form) for form in forms])
    return export_forms(found, ExportJob(plan, out, max_probes=2, **changes))


def test_each_form_gets_a_verdict_with_its_hash(
    kept: tuple[SpecialistStore, Specialist], tmp_path: Path
) -> None:
    store, one = kept
    own = store.records(one, VERDICT)[-1]["body"]
    found = export(tmp_path / "out", "hf", "peft")
    assert [str(gated.form) for gated in found.gated] == ["hf", "peft"]
    records = [record["body"] for record in store.records(one, FORM_VERDICT)]
    for form, record in zip(("hf", "peft"), records, strict=True):
        assert record == {
            **json.loads((tmp_path / "out" / "gate" / form / "verdict.json").read_text()),
            **record,
        }
        weights = next((tmp_path / "out" / form).glob("*model.safetensors"))
        assert record["candidate"]["files"][weights.name] == hash_file(weights)
        same = ("word", "policy_hash", "champion", "base", "sets", "asked_with", "reasons")
        told = {key: [_without_counts(record), _without_counts(own)] for key in same}
        assert all(first == second for first, second in told.values())
    assert records[0]["candidate"]["hash"] != records[1]["candidate"]["hash"] != own["candidate"]["hash"]
    assert any(note.startswith(f"gate: hf: {own['word']}") for note in found.certificate.notes)
    tree = "\n".join(render_tree(lineage(store, one)))
    assert "form verdict hf: lengths" not in tree and f"form verdict hf: {own['word']}" in tree
    assert "certificate equal within tolerance" in tree and "export hf, peft: equal within tolerance" in tree
    assert store.records(one, VERDICT)[-1]["body"] == own  # what decides on promotion is the specialist's own


def _without_counts(verdict: dict[str, Any]) -> list[Any]:
    """Outcomes by criterion, and what was asked: another spelling of the same weights answers alike."""
    return [
        [(one["criterion"], one["outcome"]) for one in verdict["reasons"]],
        [(one["path"], one["hash"], one["candidate"], one["against"]) for one in verdict["sets"]],
        verdict["champion"],
    ]


@pytest.mark.slow
def test_a_form_with_a_worse_word_does_not_leave(
    kept: tuple[SpecialistStore, Specialist], tmp_path: Path
) -> None:
    store, one = kept
    own = store.records(one, VERDICT)[-1]["body"]
    assert own["word"] != "ship"
    store.attach(one, VERDICT, {**own, "word": "ship"})
    with pytest.raises(ExportError, match=rf"hf: {own['word']} .*own word is ship"):
        export(tmp_path / "out", "hf")
    assert not (tmp_path / "out").exists() and (tmp_path / "out-refused" / "hf" / "gate.html").is_file()
    found = export(tmp_path / "out", "hf", accept="a test")
    assert found.gated[0].is_worse and store.records(one, "export")[-1]["body"]["accepted"] == "a test"


def test_a_gate_that_cannot_be_asked_again_is_said(
    kept: tuple[SpecialistStore, Specialist], tmp_path: Path
) -> None:
    store, one = kept
    own = store.records(one, VERDICT)[-1]["body"]
    gone = str(tmp_path / "gone.jsonl")
    store.attach(one, VERDICT, {**own, "sets": [{**own["sets"][0], "path": gone}, *own["sets"][1:]]})
    with pytest.raises(EvaluationError, match=r"gone\.jsonl.*--no-gate"):
        export(tmp_path / "out", "hf")
    found = export(tmp_path / "out", "hf", no_gate="the items moved")
    assert found.gated == () and "gate: not asked again, because the items moved" in found.certificate.notes
    assert store.records(one, "export")[-1]["body"]["no_gate"] == "the items moved"
    assert not store.records(one, FORM_VERDICT)
