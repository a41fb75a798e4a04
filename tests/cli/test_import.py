"""`luthier import`: taken in, or refused with a message and no folder left."""

import sys
from pathlib import Path

import pytest

from luthier.cli.main import main
from tests.models.test_foreign_adapter import base, folder  # noqa: F401  (fixtures)
from tests.models.test_llama2c import CHECKPOINT, TOKENIZER


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    sys.argv = ["luthier", "import", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    return ended.value.code, " ".join((told.out + told.err).split())


def test_adapters_and_pickles(
    base: Path,  # noqa: F811
    folder: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "ours"
    code, said = run(capsys, folder, "--out", out)
    assert code == 1 and "/elsewhere/base" in said and not out.exists()
    code, said = run(capsys, folder, "--base", base, "--out", out)
    assert code == 0 and "12 tensors fit" in said
    assert run(capsys, folder, "--base", base, "--out", out)[0] == 2
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    code, said = run(capsys, tmp_path / "model.bin", "--out", tmp_path / "x")
    assert code == 1 and "it is a pickle" in said


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no real data beside the checkout")
def test_llama2c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "stories"
    code, said = run(capsys, CHECKPOINT, "--out", out)
    assert code == 2 and "--tokenizer" in said
    code, said = run(capsys, CHECKPOINT, "--tokenizer", TOKENIZER, "--out", out)
    assert code == 0 and (out / "config.json").exists()
