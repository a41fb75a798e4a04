"""Mix sources into one file: so much of each, in one order, with a manifest that says what came from where.

    scan    every source is read once: rows, sizes, formats, what sources share
    plan    how much of each is taken (quotas.py), and which rows
    write   every source is read again; the rows taken are sorted on disk into their order and written

Per row 8 bytes stay in memory (4 more for shares in characters or tokens); the rows themselves wait on disk beside
the output. Knows nothing of tokens: whoever wants shares in tokens hands in what counts them.
"""

import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.finding import SPLITS, RowKey
from luthier.data.checks.ledger import Ledger, run_lengths, starts
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.example import Example
from luthier.data.external_sort import ExternalSort
from luthier.data.formats import FORMATS
from luthier.data.inputs import Input, OnBytes, input_paths, open_inputs
from luthier.data.mix_recipe import MixRecipe, Part, amounts
from luthier.data.row_field import MISSING, field_value, number_of
from luthier.data.rows import Row
from luthier.data.write import check_output, write_rows
from luthier.errors import DataError, LuthierError
from luthier.files import write_json_atomic
from luthier.hashing import hash_file, hash_text

CountTokens = Callable[[Example], int]


@dataclass
class Supply:
    """What a source has. `sizes` holds each row's characters or tokens, and is empty where rows are counted."""

    part: Part
    inputs: list[Input]
    num_rows: int = 0
    sizes: "array[int]" = field(default_factory=lambda: array("I"))
    shapes: Counter[str] = field(default_factory=Counter)

    @property
    def amount(self) -> int:
        """In the unit that shares are in."""
        return sum(self.sizes) if self.sizes else self.num_rows


@dataclass(frozen=True)
class Take:
    """Which rows of a source, and how often: each `full` times, and those ranked below `extra` once more.

    rank_N: uint32, the place of row n in a random order of the N rows. first_slot: counts the rows taken of the
    sources before. wanted: the amount that the recipe asked for; amount: what whole rows make of it.
    """

    full: int
    extra: int
    rank_N: NDArray[np.uint32]
    first_slot: int
    wanted: int
    amount: int

    @property
    def num_rows(self) -> int:
        return self.full * len(self.rank_N) + self.extra

    @property
    def num_distinct(self) -> int:
        return len(self.rank_N) if self.full else self.extra

    def slots(self, index: int) -> Iterator[tuple[int, int]]:
        """(which copy, a number that no other row of the mix has), for each time that row `index` is taken."""
        size, rank = len(self.rank_N), int(self.rank_N[index])
        for copy in range(self.full):
            yield copy, self.first_slot + copy * size + index
        if rank < self.extra:
            yield self.full, self.first_slot + self.full * size + rank


def mix(
    recipe: MixRecipe,
    out: Path,
    *,
    force: bool = False,
    count_tokens: CountTokens | None = None,
    on_bytes: OnBytes | None = None,
) -> dict[str, Any]:
    """Write the mix to `out` and its manifest to `<out>.manifest.json`; returns the manifest.

    `count_tokens` is needed for `by: tokens`. `on_bytes` is told the bytes read; every source is read twice.
    Raises DataError: a source that is missing, empty, named twice or has a row that cannot be read; shares that
    cannot be met; a row without the field to order by; a row that the common format cannot hold.
    """
    if recipe.by == "tokens" and count_tokens is None:
        raise DataError("shares in tokens need a tokenizer: name the model")
    supplies = _open(recipe)
    check_output(out, force=force, inputs=[path for one in supplies for path in input_paths(one.inputs)])
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, where there is room for it: a temporary folder may be small, or in memory.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".luthier-mix-") as folder:
        shared = _scan(recipe, supplies, Path(folder), _measure(recipe, count_tokens), on_bytes)
        takes = _plan(recipe, supplies)
        to = _common_format(recipe, supplies)
        sort = ExternalSort(Path(folder))
        losses = _collect(recipe, supplies, takes, to, sort, on_bytes)
        with write_rows(out, force=force) as write:
            for data in sort:
                write(json.loads(data))
    manifest = _manifest(recipe, out, supplies, takes, to, shared, losses)
    write_json_atomic(manifest_path(out), manifest)
    return manifest


def manifest_path(out: Path) -> Path:
    """Where the manifest of a mix stands."""
    return out.with_name(out.name + ".manifest.json")


def _open(recipe: MixRecipe) -> list[Supply]:
    supplies = [
        Supply(part, open_inputs([part.path], format=recipe.format, fields=recipe.fields))
        for part in recipe.parts()
    ]
    seen: dict[str, str] = {}
    for supply in supplies:
        for one in supply.inputs:
            place = str(one.path.resolve()) if one.path.exists() else one.source.place
            if place in seen:
                raise DataError(
                    f"{one.source.place} is in the mix twice ({seen[place]}, {supply.part.describe()}); "
                    "name a file once: with a share, as replay, or to be repeated"
                )
            seen[place] = supply.part.describe()
    return supplies


def _measure(recipe: MixRecipe, count_tokens: CountTokens | None) -> Callable[[CheckedRow], int] | None:
    """The size of a row in the unit of the shares; None where rows are counted."""

    def characters(row: CheckedRow) -> int:
        return sum(map(len, row.texts()))

    def tokens(row: CheckedRow) -> int:
        assert row.example is not None and count_tokens is not None
        try:
            return count_tokens(row.example)
        except LuthierError as error:
            raise type(error)(f"{row.place}: {error}") from error

    return {"rows": None, "characters": characters, "tokens": tokens}[recipe.by]


def _scan(
    recipe: MixRecipe,
    supplies: Sequence[Supply],
    folder: Path,
    measure: Callable[[CheckedRow], int] | None,
    on_bytes: OnBytes | None,
) -> list[dict[str, Any]]:
    """Fill the supplies; returns what sources share."""
    ledger = Ledger(folder)
    for index, supply in enumerate(supplies):
        for one in supply.inputs:
            for row, checked in one.good_rows(on_bytes):
                supply.num_rows += 1
                supply.shapes[str(checked.shape)] += 1
                if measure is not None:
                    supply.sizes.append(measure(checked))
                if recipe.order_field is not None:
                    order_value(row, recipe.order_field)
                checked.key = RowKey(index, supply.num_rows)
                ledger.see(checked)
    ledger.finish()
    return _shared_rows(ledger, supplies)


def order_value(row: Row, name: str) -> float:
    """The number that a row is ordered by. Raises DataError where the field is missing or holds none."""
    value = field_value(row.value, name)
    number = number_of(value)
    if number is not None:
        return number
    what = f"holds {value!r:.40}" if value is not MISSING else f"is missing (fields: {', '.join(row.value)})"
    raise DataError(
        f"{row.where}: the field {name!r} to order by {what}; expected a number in every row, "
        "or one of the orders shuffled, as_given"
    )


def _shared_rows(ledger: Ledger, supplies: Sequence[Supply]) -> list[dict[str, Any]]:
    """Rows that say the same in two sources: how many distinct ones, for each pair of sources that has any."""
    counts: Counter[tuple[int, int]] = Counter()
    for records in ledger.sorted_by("content", SPLITS):
        first = starts(records["content"])
        end = first + run_lengths(first, len(records))
        several = (
            records["file"][first] != records["file"][end - 1]
        )  # sorted by source where contents are equal
        for start, stop in zip(first[several], end[several], strict=True):
            counts.update(combinations(np.unique(records["file"][start:stop]).tolist(), 2))
    return [
        {"sources": [supplies[a].part.path, supplies[b].part.path], "rows": counts[a, b]}
        for a, b in sorted(counts)
    ]


def _plan(recipe: MixRecipe, supplies: Sequence[Supply]) -> list[Take]:
    wanted = amounts(recipe, [supply.amount for supply in supplies])
    takes: list[Take] = []
    for index, (supply, amount) in enumerate(zip(supplies, wanted, strict=True)):
        order = _random_order(supply.num_rows, recipe.seed, f"source {index}")
        full, rest = divmod(amount, supply.amount)
        extra, got = rest, amount
        if supply.sizes:
            extra, rest_got = _nearest(np.frombuffer(supply.sizes, np.uint32)[order], rest)
            got = full * supply.amount + rest_got
        if full == 0 and extra == 0:
            raise DataError(
                f"{supply.part.path}: its share comes to {amount:,} {recipe.by}, less than half a row; "
                "take a larger total or share, or leave the source out"
            )
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order), dtype=np.uint32)
        first_slot = sum(take.num_rows for take in takes)
        takes.append(Take(full, extra, rank, first_slot, amount, got))
    return takes


def _random_order(size: int, seed: int, purpose: str) -> NDArray[np.uint32]:
    """The numbers below `size` in random order, the same for a seed and a purpose on any machine."""
    digest = hash_text(json.dumps([seed, purpose])).removeprefix("sha256:")
    words = [int(digest[start : start + 8], 16) for start in range(0, len(digest), 8)]
    order = np.arange(size, dtype=np.uint32)
    np.random.RandomState(words).shuffle(order)  # its stream is frozen; that of newer generators may change
    return order


def _nearest(sizes: NDArray[np.uint32], amount: int) -> tuple[int, int]:
    """How many of the first rows come nearest to an amount, and what they amount to."""
    summed = np.cumsum(sizes, dtype=np.uint64)
    after = int(np.searchsorted(summed, amount))
    reached = [(0, 0), *((n, int(summed[n - 1])) for n in (after, after + 1) if 0 < n <= len(summed))]
    return min(reached, key=lambda one: (abs(one[1] - amount), one[0]))


def _common_format(recipe: MixRecipe, supplies: Sequence[Supply]) -> str | None:
    """What rows are written as; None where they stay as they stand because all have one format."""
    if recipe.to is not None:
        if recipe.to not in FORMATS:
            raise DataError(f"format {recipe.to!r} does not exist; known: {', '.join(FORMATS)}")
        return recipe.to
    # Documents stand beside rows of any format, so they do not count.
    shapes = {shape for supply in supplies for shape in supply.shapes} - {"text"}
    return "messages" if len(shapes) > 1 else None


def _collect(
    recipe: MixRecipe,
    supplies: Sequence[Supply],
    takes: Sequence[Take],
    to: str | None,
    sort: ExternalSort,
    on_bytes: OnBytes | None,
) -> Counter[str]:
    """Hand every row taken to the sort, as it will be written; returns what the common format could not hold."""
    losses: Counter[str] = Counter()
    place = _random_order(sum(take.num_rows for take in takes), recipe.seed, "order")
    for supply, take in zip(supplies, takes, strict=True):
        index = -1
        for one in supply.inputs:
            for row, value in one.values(on_bytes):
                index += 1
                slots = list(take.slots(index))
                if not slots:
                    continue
                if to is not None:
                    value, lost = _as_written(check_row(row, RowKey(0, row.number), "train", one.format), to)
                    losses.update({what: len(slots) for what in lost})
                data = json.dumps(value).encode("ascii")
                for copy, slot in slots:
                    key, tie = float(place[slot]), 0
                    if recipe.order_field is not None:
                        key, tie = order_value(row, recipe.order_field), int(place[slot])
                    elif recipe.order == "as_given":
                        key, tie = float(take.first_slot + copy * supply.num_rows), index
                    sort.add(key, tie, data)
    return losses


def _as_written(row: CheckedRow, to: str) -> tuple[dict[str, Any], list[str]]:
    """The row in the common format, and what that cannot hold of it. A document stays one."""
    example = row.example
    assert example is not None
    if row.shape == to or example.kind == "text":
        return dict(row.value), []
    target = FORMATS[to]
    if example.kind not in target.kinds:
        raise DataError(
            f"{row.place}: a row for {example.kind} ({row.shape}) cannot be written as {to}; mix rows of one "
            "kind, or choose a format that holds them all with --to"
        )
    return target.write(example), target.loses(example)


def _manifest(
    recipe: MixRecipe,
    out: Path,
    supplies: Sequence[Supply],
    takes: Sequence[Take],
    to: str | None,
    shared: list[dict[str, Any]],
    losses: Counter[str],
) -> dict[str, Any]:
    wanted, got = sum(take.wanted for take in takes), sum(take.amount for take in takes)
    return {
        "out": str(out),
        "sha256": hash_file(out).removeprefix("sha256:"),
        "rows": sum(take.num_rows for take in takes),
        "by": recipe.by,
        "amount": got,
        "stop": recipe.stop,
        "temperature": recipe.temperature,
        "order": recipe.order,
        "seed": recipe.seed,
        "format": to,
        "lost": dict(losses),
        "shared_rows": shared,
        "sources": [
            _source(supply, take, take.wanted / wanted, take.amount / got)
            for supply, take in zip(supplies, takes, strict=True)
        ],
    }


def _source(supply: Supply, take: Take, share_wanted: float, share_got: float) -> dict[str, Any]:
    return {
        "path": supply.part.path,
        "role": supply.part.role,
        "stated": None if supply.part.number is None else float(supply.part.number),
        "files": [_file(one) for one in supply.inputs],
        "formats": dict(supply.shapes),
        "rows_available": supply.num_rows,
        "rows_taken": take.num_rows,
        "rows_distinct": take.num_distinct,
        "copies": take.full + (1 if take.extra else 0),
        "amount_available": supply.amount,
        "amount_taken": take.amount,
        "share_wanted": round(share_wanted, 6),
        "share_got": round(share_got, 6),
    }


def _file(one: Input) -> dict[str, Any]:
    local = one.path.is_file()
    return {
        "path": one.source.place,
        "sha256": hash_file(one.path).removeprefix("sha256:") if local else None,
    }
