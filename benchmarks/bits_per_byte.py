"""Bits per byte of a model, and of a llama2.c model beside it, on the same texts.

    python benchmarks/bits_per_byte.py --texts ../shared/corpus/holdout.jsonl --model luthier-nano

Each model reads in windows of its own context length and moves on by half of it, in float32.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from llama2c import BOS_ID, read_model, read_tokenizer
from luthier.data.sources import read_rows
from luthier.errors import DataError, LuthierError
from luthier.evaluation.bits import BitsPerByte, bits_per_byte, bits_per_byte_of
from luthier.evaluation.bits import Progress as OnProgress
from luthier.models.load import load_model

_STATUS = Console(stderr=True)
_COLUMNS = ("parameters", "context", "bits/byte", "bytes/token", "tokens", "bytes")


def read_texts(path: Path, max_bytes: int | None) -> list[str]:
    """The `text` fields, whole ones only, up to `max_bytes` in all. Raises DataError."""
    texts: list[str] = []
    num_bytes = 0
    for row in read_rows(path):
        text = row.value.get("text")
        if not isinstance(text, str):
            raise DataError(f"{row.where}: field 'text': expected a text, got {text!r:.60}")
        num_bytes += len(text.encode())
        if max_bytes is not None and num_bytes > max_bytes:
            break
        texts.append(text)
    return texts


@contextmanager
def _bar(name: str) -> Iterator[OnProgress]:
    with Progress(console=_STATUS, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def measure_luthier(ref: str, texts: Sequence[str], dtype: str) -> tuple[Any, BitsPerByte]:
    """A model that Luthier loads: an embedded name, a folder or a hub id."""
    loaded = load_model(ref, dtype=dtype)
    with _bar(ref) as progress:
        return loaded.model, bits_per_byte_of(loaded, texts, progress=progress)


def measure_llama2c(folder: Path, texts: Sequence[str]) -> tuple[Any, BitsPerByte]:
    """The one model (`<folder name>.bin`) and the one tokenizer (`tok*.bin`) of a llama2.c folder."""
    model = read_model(folder / f"{folder.name}.bin")
    tokenizer_paths = sorted(folder.glob("tok*.bin"))
    if len(tokenizer_paths) != 1:
        raise DataError(f"{folder}: expected one tokenizer named tok*.bin, found {len(tokenizer_paths)}")
    tokenizer = read_tokenizer(tokenizer_paths[0])
    max_length = model.config.max_position_embeddings
    with _bar(folder.name) as progress:
        return model, bits_per_byte(
            model, tokenizer.encode, texts, max_length=max_length, start_id=BOS_ID, progress=progress
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--texts", type=Path, required=True, help="JSONL (plain, .gz, .zst) with a `text` field"
    )
    parser.add_argument(
        "--model", action="append", default=[], help="embedded name, folder or hub id; repeatable"
    )
    parser.add_argument("--llama2c", type=Path, help="a folder with NAME.bin and tok*.bin of llama2.c")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    parser.add_argument("--max-bytes", type=int, help="only the first texts, up to this many bytes")
    options = parser.parse_args()
    if not options.model and not options.llama2c:
        parser.error("name at least one of --model and --llama2c")
    table = Table("model", *_COLUMNS, box=MARKDOWN)
    try:
        texts = read_texts(options.texts, options.max_bytes)
        measured = [(ref, *measure_luthier(ref, texts, options.dtype)) for ref in options.model]
        if options.llama2c:
            measured.append((options.llama2c.name, *measure_llama2c(options.llama2c, texts)))
    except LuthierError as error:
        _STATUS.print(f"error: {error}", style="red", markup=False)
        return 1
    for name, model, bits in measured:
        table.add_row(
            Path(name).name,
            f"{model.num_parameters():,}",
            f"{model.config.max_position_embeddings}",
            f"{bits.bits_per_byte:.4f}",
            f"{bits.bytes_per_token:.3f}",
            f"{bits.num_tokens:,}",
            f"{bits.num_bytes:,}",
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
