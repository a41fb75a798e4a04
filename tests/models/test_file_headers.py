"""Mutated GGUF and safetensors files: each is refused, or read as the format's own library reads it."""

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from luthier.errors import ModelError
from luthier.models.file_headers import check_gguf, check_safetensors

EXTREMES = [0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
MAX_BYTES = 32 * 2**20


def small_gguf(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c", "é"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 1, 3])
    writer.add_uint32("tokenizer.ggml.eos_token_id", 3)
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(7, np.float32))
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    rows = gguf.quantize(np.ones((3, 64), np.float32), q8_0)
    writer.add_tensor("blk.0.ffn_up.weight", rows, raw_dtype=q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small_safetensors(path: Path) -> Path:
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.int8), "c": np.zeros((0, 4), np.float16)}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three wounds: a byte changed, a number set to an extreme, the end cut off, a part lost or doubled."""
    new = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(1, len(new)))
        match rng.randrange(6):
            case 0 if new:
                new[at] = rng.randrange(256)
            case 1:
                new[at : at + 8] = struct.pack("<Q", rng.choice(EXTREMES))
            case 2:
                new[at : at + 4] = struct.pack("<I", rng.choice(EXTREMES) % 2**32)
            case 3:
                del new[at:]
            case 4:
                del new[at : at + rng.randint(1, 16)]
            case _:
                new[at:at] = new[at : at + rng.randint(1, 16)]
    return bytes(new)


def agrees_with_gguf(path: Path) -> None:
    mine = {t.name: (t.type, t.num_bytes) for t in check_gguf(path).tensors}
    theirs = {t.name: (t.tensor_type.name.lower(), t.n_bytes) for t in gguf.GGUFReader(path).tensors}
    assert mine == theirs


def agrees_with_safetensors(path: Path) -> None:
    mine = {t.name: t.shape for t in check_safetensors(path).tensors}
    with safe_open(path, framework="np") as file:
        assert {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} == mine  # noqa: SIM118


def survive(source: Path, agrees: Callable[[Path], None], count: int, seed: int) -> int:
    """How many of the mutated files were refused."""
    data, rng = source.read_bytes(), random.Random(seed)
    path = source.with_suffix(".mutated")
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(count):
            path.write_bytes(mutated(data, rng))
            try:
                agrees(path)
            except ModelError:
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()
    return refused


KINDS = [(small_gguf, agrees_with_gguf), (small_safetensors, agrees_with_safetensors)]


@pytest.mark.parametrize(("make", "agrees"), KINDS)
def test_whole_files_pass_and_mutated_ones_are_refused_or_read_alike(
    tmp_path: Path, make: Callable[[Path], Path], agrees: Callable[[Path], None]
) -> None:
    path = make(tmp_path / "file")
    agrees(path)
    assert 80 < survive(path, agrees, 150, seed=0) < 150


@pytest.mark.slow
@pytest.mark.parametrize(("make", "agrees"), KINDS)
def test_ten_thousand_mutated_files(
    tmp_path: Path, make: Callable[[Path], Path], agrees: Callable[[Path], None]
) -> None:
    assert 2500 < survive(make(tmp_path / "file"), agrees, 5000, seed=1) < 5000


@pytest.mark.parametrize(
    ("at", "number", "message"),
    [
        (0, b"GGML", "does not begin with GGUF"),
        (4, struct.pack("<I", 1), "version 1"),
        (8, struct.pack("<Q", 2**60), "1152921504606846976 tensors are said to follow"),
        (16, struct.pack("<Q", 2**63), "9223372036854775808 keys"),
        (24, struct.pack("<Q", 2**40), "bytes of a key's name"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, at: int, number: bytes, message: str) -> None:
    path = small_gguf(tmp_path / "m.gguf")
    data = bytearray(path.read_bytes())
    data[at : at + len(number)] = number
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message):
        check_gguf(path)
    path.write_bytes(small_gguf(path).read_bytes()[:-64])
    with pytest.raises(ModelError, match="the file ends"):
        check_gguf(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[" * 100_000, "not JSON"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}}', "9 bytes for the shape"),
        (
            b'{"a":{"dtype":"F32","shape":[4611686018427387903,4],"data_offsets":[0,8]}}',
            "8 bytes for the shape",
        ),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', "begins at byte 4"),
        (b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', "has the shape"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', "8 bytes, 9 follow"),
        (b'{"a":1,"a":2}', "stands twice"),
    ],
)
def test_safetensors_headers_that_promise_too_much(tmp_path: Path, header: bytes, message: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(9))
    with pytest.raises(ModelError, match=message):
        check_safetensors(path)
