"""Files of Python objects, known by their first bytes and never opened further: to read one is to run it."""

from pathlib import Path

from luthier.errors import ModelError

_ENDINGS = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_SAFE_WAY = (
    "it is a pickle, and to read one is to run whatever it holds; Luthier never does. The safe way: on a machine that "
    "may be lost, load it in the tool that wrote it and save it as safetensors (transformers and PEFT: "
    "save_pretrained(folder, safe_serialization=True)), then import that"
)


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later does, or as torch's archive of one."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def refuse_pickle(path: Path) -> None:
    """Raises ModelError, with the safe way, for a file that is a pickle."""
    if is_pickle(path):
        raise ModelError(f"{path}: {_SAFE_WAY}")


def refuse_pickles_alone(folder: Path, expected: str) -> None:
    """Raises ModelError where `expected` is not in the folder; with the safe way where pickles are there instead."""
    if (folder / expected).is_file():
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _ENDINGS)
    if pickles:
        raise ModelError(f"{folder / pickles[0]}: expected {expected} instead of this; {_SAFE_WAY}")
    inside = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
    raise ModelError(f"{folder}: expected {expected}, found {inside}")
