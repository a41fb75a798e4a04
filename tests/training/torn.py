"""Checkpoint folders as a crash, a full disk, a bad disk or a careless hand may leave them, made on purpose."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

FILES = ("weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
Tear = Callable[[Path, random.Random], None]
"""Damages the newest checkpoint, `path`; the one before it stands beside."""


def _before(path: Path) -> Path:
    return sorted(one for one in path.parent.glob("step-*") if one.is_dir() and one != path)[-1]


def _a_file(path: Path, pick: random.Random) -> Path:
    return path / pick.choice(FILES)


def truncated(path: Path, pick: random.Random) -> None:
    file = _a_file(path, pick)
    os.truncate(file, pick.randrange(file.stat().st_size))


def flipped(path: Path, pick: random.Random) -> None:
    file = _a_file(path, pick)
    content = bytearray(file.read_bytes())
    if file.name == "manifest.json":  # a changed space is no damage
        at = pick.choice([i for i, byte in enumerate(content) if not chr(byte).isspace()])
    else:
        at = pick.randrange(len(content))
    content[at] ^= 1 << pick.randrange(8)
    file.write_bytes(bytes(content))


def zero_page(path: Path, pick: random.Random) -> None:
    """A page that never reached the disk."""
    file = _a_file(path, pick)
    content = bytearray(file.read_bytes())
    nonzero = [i for i in range(0, len(content), 512) if any(content[i : i + 512])]
    start = pick.choice(nonzero)
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    file.write_bytes(bytes(content))


def longer(path: Path, pick: random.Random) -> None:
    with _a_file(path, pick).open("ab") as file:
        file.write(pick.randbytes(pick.randint(1, 5000)).replace(b" ", b"x").replace(b"\n", b"x"))


def missing(path: Path, pick: random.Random) -> None:
    _a_file(path, pick).unlink()


def emptied(path: Path, pick: random.Random) -> None:
    _a_file(path, pick).write_bytes(b"")


def swapped(path: Path, pick: random.Random) -> None:
    """A file of the checkpoint before."""
    file = _a_file(path, pick)
    shutil.copy(_before(path) / file.name, file)


def other_checkpoint(path: Path, pick: random.Random) -> None:
    """A whole checkpoint under the name of another."""
    shutil.rmtree(path)
    shutil.copytree(_before(path), path)


def half_renamed(path: Path, pick: random.Random) -> None:
    """Some of the files are still in the folder that was written beside."""
    beside = path.with_name(f".{path.name}.{pick.getrandbits(32):08x}.tmp")
    beside.mkdir()
    for name in pick.sample(FILES, pick.randint(1, len(FILES))):
        (path / name).rename(beside / name)


def never_renamed(path: Path, pick: random.Random) -> None:
    path.rename(path.with_name(f".{path.name}.{pick.getrandbits(32):08x}.tmp"))


def empty_folder(path: Path, pick: random.Random) -> None:
    shutil.rmtree(path)
    path.mkdir()


def folder_is_a_file(path: Path, pick: random.Random) -> None:
    shutil.rmtree(path)
    path.write_bytes(pick.randbytes(100))


def wrong_manifest(path: Path, pick: random.Random) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    name = pick.choice(sorted(manifest))
    values = ("sha256:" + "0" * 64, "", None, 7, [], {"sha256": manifest[name]})
    changed = pick.choice(
        [
            {},
            [],
            None,
            "whole",
            {key: value for key, value in manifest.items() if key != name},
            manifest | {name: pick.choice(values)},
            manifest | {"../state.json": manifest[name]},
        ]
    )
    (path / "manifest.json").write_text(json.dumps(changed))


def strange_manifest(path: Path, pick: random.Random) -> None:
    texts = (b"[" * 200_000, b"\xff\xfe{}", b"NaN", b"{" * 10, b"\x00" * 300, b'{"a": 1}{', b"1" * 6000)
    (path / "manifest.json").write_bytes(pick.choice(texts))


def linked(path: Path, pick: random.Random) -> None:
    """A link to another file, to nothing, to itself, to a folder."""
    file = _a_file(path, pick)
    file.unlink()
    file.symlink_to(pick.choice((_before(path) / file.name, path / "gone", file, path.parent)))


def no_file(path: Path, pick: random.Random) -> None:
    """A folder or a pipe where a file should be: opening a pipe waits for ever."""
    file = _a_file(path, pick)
    file.unlink()
    pick.choice((os.mkdir, os.mkfifo))(file)


def unreadable(path: Path, pick: random.Random) -> None:
    _a_file(path, pick).chmod(0)


TEARS: dict[str, Tear] = {
    made.__name__: made
    for made in (
        truncated,
        flipped,
        zero_page,
        longer,
        missing,
        emptied,
        swapped,
        other_checkpoint,
        half_renamed,
        never_renamed,
        empty_folder,
        folder_is_a_file,
        wrong_manifest,
        strange_manifest,
        linked,
        no_file,
    )
}
if os.geteuid() != 0:  # nothing is unreadable to root
    TEARS["unreadable"] = unreadable
