"""Whatever a person gets wrong: a message that helps, a non-zero exit, and nothing written or lost."""

import json
import sys
from pathlib import Path

import pytest

from luthier.cli.main import main
from tests.toy import byte_tokenizer, tiny_model

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with a tiny model in `model` and good rows in `rows.jsonl`."""
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_tokenizer("chatml")
    tiny_model("llama", len(tokenizer)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text(json.dumps(GOOD) + "\n")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `luthier ARGUMENTS`, which must fail; returns what it wrote on stderr, on one line."""
    sys.argv = ["luthier", *arguments]
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code not in (0, None)
    return " ".join(capsys.readouterr().err.split())


def train(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    text = said(capsys, "train", "--model", "model", *arguments)
    assert not Path("runs").exists() or not list(Path("runs").iterdir()), "a refused run leaves no folder"
    return text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "rows.jsonl: the file is empty"),
        (b'{"messages": []\n', "rows.jsonl:1:"),
        (json.dumps(GOOD).encode() + b'\n{"messages": [}\n', "rows.jsonl:2:15: broken JSON"),
        (
            b'{"messages": [{"role": "user", "content": "Hi"}]}\n',
            "rows.jsonl:1: the conversation has no assistant",
        ),
        (b'{"messages": [{"role": "wizard", "content": "Hi"}]}\n', "wizard"),
        (b'{"words": "Hi"}\n', "expected one of"),
        (b"\xff\xfe\n", "UTF-16 by the mark at its byte 0"),
    ],
)
def test_wrong_data_is_named_with_its_place(
    content: bytes, expected: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "rows.jsonl").write_bytes(content)
    assert expected in train(capsys, "--data", "rows.jsonl")
    assert (workplace / "rows.jsonl").read_bytes() == content


def test_no_such_file(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such data file: gone.jsonl" in train(capsys, "--data", "gone.jsonl")
    assert "no such recipe: gone.yaml" in train(capsys, "gone.yaml", "--data", "rows.jsonl")


def test_a_template_that_cannot_render_the_row(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = byte_tokenizer("strict")
    tiny_model("llama", len(tokenizer)).save_pretrained(workplace / "model")
    tokenizer.save_pretrained(workplace / "model")
    system = {"role": "system", "content": "Be brief."}
    (workplace / "rows.jsonl").write_text(json.dumps({"messages": [system, *GOOD["messages"]]}) + "\n")
    text = train(capsys, "--data", "rows.jsonl")
    assert "rows.jsonl:1:" in text and "system" in text


def test_models_that_are_none(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "empty").mkdir()
    assert "not a model folder" in said(capsys, "train", "--data", "rows.jsonl", "--model", "empty")
    assert "there is no such folder" in said(capsys, "train", "--data", "rows.jsonl", "--model", "./gone")
    for weights in (workplace / "model").glob("*.safetensors"):
        weights.rename(workplace / "model" / "pytorch_model.bin")
    assert "never reads pickled weights" in said(capsys, "train", "--data", "rows.jsonl", "--model", "model")


def test_a_model_that_needs_remote_code(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"model_type": "own_code", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}}
    (workplace / "model" / "config.json").write_text(json.dumps(config))
    (workplace / "model" / "c.py").write_text("raise SystemExit('this code ran')\n")
    text = said(capsys, "eval", "model", "--items", _items(workplace))
    assert "needs code of its own" in text and "this code ran" not in text


def _items(workplace: Path) -> str:
    (workplace / "items.jsonl").write_text('{"question": "How wide?", "must": ["68"]}\n')
    return "items.jsonl"


def test_a_misspelt_key_gets_its_nearest_name(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = train(capsys, "--data", "rows.jsonl", "optim.learning_rat=1e-4")
    assert "unknown key 'optim.learning_rat'; did you mean 'learning_rate'?" in text
    (workplace / "r.yaml").write_text("data: rows.jsonl\nmethodd: lora\n")
    assert "did you mean 'method'?" in train(capsys, "r.yaml")
    assert "rank" in train(capsys, "--data", "rows.jsonl", "--method", "full", "method.rank=8")


def test_a_run_that_exists_is_kept(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "luthier",
        "train",
        "--data",
        "rows.jsonl",
        "--model",
        "model",
        "--name",
        "mine",
        "train.max_steps=1",
    ]
    sys.argv = command
    main_ok()
    before = {path: path.read_bytes() for path in Path("runs/mine").rglob("*") if path.is_file()}
    text = said(capsys, *command[1:])
    assert "this run exists already" in text and "--overwrite" in text and "--resume" not in text
    assert before == {path: path.read_bytes() for path in Path("runs/mine").rglob("*") if path.is_file()}
    assert "has finished" in said(capsys, "train", "--resume", "runs/mine")
    (workplace / "thesis").mkdir()
    (workplace / "thesis" / "chapter.txt").write_text("years of work")
    text = said(capsys, *command[1:5], "model", "--runs", ".", "--name", "thesis", "--overwrite")
    assert (
        "never overwritten" in text and (workplace / "thesis" / "chapter.txt").read_text() == "years of work"
    )


def main_ok() -> None:
    try:
        main()
    except SystemExit as stopped:
        assert not stopped.code


def test_data_that_changed_is_not_resumed(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv = [
        "luthier",
        "train",
        "--data",
        "rows.jsonl",
        "--model",
        "model",
        "--name",
        "mine",
        "train.max_steps=1",
    ]
    main_ok()
    status = json.loads(Path("runs/mine/status.json").read_text())
    Path("runs/mine/status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    (workplace / "rows.jsonl").write_text(json.dumps(GOOD) * 1 + "\n" + json.dumps(GOOD) + "\n")
    assert "the data changed" in said(capsys, "train", "--resume", "runs/mine")


def test_export_never_overwrites(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "out").mkdir()
    (workplace / "out" / "mine.txt").write_text("mine")
    assert "not empty" in said(capsys, "export", "model", "--out", "out")
    assert [path.name for path in (workplace / "out").iterdir()] == ["mine.txt"]


def test_a_full_disk_is_told_and_leaves_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    rows = workplace / "many.jsonl"
    rows.write_text((json.dumps(GOOD) + "\n") * 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        text = said(capsys, "data", "convert", "many.jsonl", "out.jsonl", "--to", "alpaca")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert text.startswith("error: File too large. Make room") and "TMPDIR" in text
    assert not [path for path in workplace.iterdir() if "out.jsonl" in path.name]


def test_an_output_inside_a_file_is_told(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "data", "convert", "rows.jsonl", "rows.jsonl/out.jsonl", "--to", "alpaca")
    assert text.startswith("error: ") and "rows.jsonl" in text and "Traceback" not in text


def test_a_closed_standard_input_is_no_terminal(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "needs a terminal" in said(capsys, "data", "sample", "rows.jsonl")
