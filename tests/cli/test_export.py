"""`luthier export` and `luthier certify`: planned, written, certified, or refused."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.cli.main import main
from luthier.models.load import load_model
from tests.export.toys import adapter_folder, base_folder, lora_config


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA over a tiny base, on the disk."""
    folder = tmp_path_factory.mktemp("adapter")
    return adapter_folder(base_folder(folder / "base"), folder / "mine", lora_config())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["luthier", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), " ".join(shown.out.split()), " ".join(shown.err.split())

    return call


def test_a_dry_run_says_every_tensor_and_writes_nothing(adapter: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("export", adapter, "--to", "hf,peft", "--out", tmp_path / "out", "--dry-run")
    assert code == 0 and not (tmp_path / "out").exists()
    assert "model.layers.1.mlp.down_proj.weight 32 x 64 float32 + 2 x B(4) A, in float32" in out
    assert "piece by piece" in out and "hf: hf/ (model.safetensors" in out


def test_forms_come_with_their_certificate(adapter: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("export", adapter, "--to", "hf", "--to", "vllm", "--out", tmp_path / "out")
    assert code == 0 and "hf: equal within tolerance" in out
    kept = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert [(form["form"], form["word"]) for form in kept["forms"]] == [
        ("hf", "equal within tolerance"),
        ("peft", "identical"),
    ]
    assert kept["forms"][0]["files"]["model.safetensors"].startswith("sha256:")
    assert any(note.startswith("vllm: not run") for note in kept["notes"])
    assert "<h1>Certificate of mine</h1>" in (tmp_path / "out" / "certificate.html").read_text()
    merged = load_model(str(tmp_path / "out" / "hf"), dtype="float32")
    assert not hasattr(merged.model, "peft_config")
    settings = json.loads((tmp_path / "out" / "hf" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == list(merged.renderer.stop_ids)
    assert (
        f"Trained from `{adapter.parent / 'base'}`: LoRA, rank 4, scale alpha / r = 8 / r."
        in (tmp_path / "out" / "hf" / "README.md").read_text()
    )
    said = json.loads((tmp_path / "out" / "peft" / "base.json").read_text())
    assert (said["alpha"], said["rank"], said["rslora"]) == (8, 4, False) and said["base_hash"].startswith(
        "sha256:"
    )
    command = (tmp_path / "out" / "vllm" / "serve.sh").read_text()
    assert f"--lora-modules mine={tmp_path / 'out' / 'peft'}" in command and "--max-lora-rank 8" in command


def test_told_to_end_it_leaves_nothing_half_written(adapter: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "luthier", "export", str(adapter), "--to", "hf,gguf:f32", "--out", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as export:
        while export.poll() is None and not any(tmp_path.iterdir()):
            time.sleep(0.01)
        assert export.poll() is None, "it ended before it could be told to"
        export.terminate()
        assert export.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_refused_unless_accepted_with_a_reason(
    adapter: Path,
    tmp_path: Path,
    run,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # With no allowance for rounding, the bfloat16 copy of a float32 model is another model.
    from luthier.export.certificate import verdict

    monkeypatch.setitem(verdict.TOLERANCES, "bfloat16", verdict.Tolerance(0.0, 1.0))  # type: ignore[arg-type]
    words = ("export", adapter, "--out", tmp_path / "out", "--dtype", "bfloat16")
    code, _, err = run(*words)
    assert code == 1 and "does not answer like" in err and "dtype" in err
    assert not (tmp_path / "out").exists() and (tmp_path / "out-refused.html").exists()
    code, out, _ = run(*words, "--accept", "a test of the refusal")
    kept = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert code == 0 and "different: dtype" in out
    assert (kept["word"], kept["accepted"]) == ("different", "a test of the refusal")


def test_certify_holds_a_folder_against_the_trained_model(adapter: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    assert run("export", adapter, "--to", "hf", "--out", tmp_path / "out")[0] == 0
    broken = shutil.copytree(tmp_path / "out" / "hf", tmp_path / "broken")
    (broken / "chat_template.jinja").unlink()
    code, out, _ = run(
        "certify", adapter, "--forms", f"hf={tmp_path / 'out' / 'hf'}", "--out", tmp_path / "proof"
    )
    assert code == 0 and (tmp_path / "proof" / "certificate.html").exists()
    code, out, _ = run("certify", adapter, "--forms", f"hf={broken}")
    assert code == 1 and "hf: different: template" in out


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("onnx", "onnx is not written"),
        ("gguf:q9", "--to gguf:q9"),
        ("exe", "expected one of hf, peft"),
        ("mlx:5", "--to mlx:5"),
    ],
)
def test_forms_that_do_not_exist_are_named(form: str, said: str, adapter: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run("export", adapter, "--to", form, "--out", tmp_path / "out")
    assert code != 0 and said in err and "Traceback" not in err
