"""What a mix is asked to be: its sources, their shares, what is repeated, in which order; and the amounts of each.

Three roles. `share`: the main sources, which divide the mix among them. `replay`: general data, a share of the whole
outcome, so that tuning does not forget. `upsample`: every row a fixed number of times, outside all shares.
Knows nothing of rows and of how a mix is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from luthier.config import Config, Layer, build, merge_layers, read_layers
from luthier.data.quotas import Stop, beside, by_temperature, largest_remainder, normalised, until_exhausted
from luthier.errors import DataError

Unit = Literal["rows", "characters", "tokens"]
Role = Literal["share", "replay", "upsample"]


class Source(Config):
    """A main source. `share`: its weight among the main sources; None where sizes (and temperature) decide."""

    path: str
    share: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Replay(Config):
    """General data. `share`: its part of the whole outcome, below 1."""

    path: str
    share: float = Field(gt=0, lt=1)


class Upsample(Config):
    """A source of which every row is taken `times` times."""

    path: str
    times: int = Field(ge=1)


@dataclass(frozen=True)
class Part:
    """One source in its role; `number` is its share, or how often its rows are taken."""

    path: str
    role: Role
    number: Fraction | None

    def describe(self) -> str:
        return {"share": "as a source", "replay": "as replay", "upsample": "to be repeated"}[self.role]


class MixRecipe(Config):
    """One mix.

    by        the unit that shares and `total` are in
    total     how much the outcome holds; None for as much as `stop` gives, or for everything where there are no shares
    temperature  shares from sizes: size^(1/temperature), instead of stated ones
    stop      `first_exhausted`: no row is taken twice, so the first source to run out ends the mix.
              `all_exhausted`: until every row was taken once; smaller sources begin again
    order     `shuffled`, `as_given` (source after source), or a field whose numbers rise through the mix
    to        the format that all rows are written in; None keeps them as they stand if all have one, else messages
    format, fields  how the sources are read, where that is not recognised
    model     whose tokenizer counts, for `by: tokens`
    """

    sources: tuple[Source, ...] = ()
    replay: tuple[Replay, ...] = ()
    upsample: tuple[Upsample, ...] = ()
    by: Unit = "rows"
    total: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    stop: Stop = "first_exhausted"
    order: str = Field(default="shuffled", min_length=1)
    seed: int = 0
    to: str | None = None
    format: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    model: str | None = None

    @property
    def order_field(self) -> str | None:
        """The field that rows are ordered by, if they are."""
        return None if self.order in ("shuffled", "as_given") else self.order

    def parts(self) -> list[Part]:
        """All sources in the order of reading. Raises DataError where they do not make a mix."""
        stated = [source for source in self.sources if source.share is not None]
        if not self.sources and not self.upsample:
            raise DataError("nothing to mix: name sources, such as chat.jsonl=0.7 general.jsonl=0.3")
        if stated and len(stated) < len(self.sources):
            missing = next(source.path for source in self.sources if source.share is None)
            raise DataError(
                f"{missing} has no share, but {stated[0].path} has one; give all of them one, or none"
            )
        if stated and self.temperature is not None:
            raise DataError(
                f"a temperature derives the shares from the sizes, but {stated[0].path} has a share; leave one out"
            )
        if self.temperature is not None and not self.sources:
            raise DataError("a temperature needs sources without shares; there are none")
        return [
            *(Part(one.path, "share", _exact(one.share)) for one in self.sources),
            *(Part(one.path, "replay", _exact(one.share)) for one in self.replay),
            *(Part(one.path, "upsample", Fraction(one.times)) for one in self.upsample),
        ]


def read_mix_recipe(path: Path, overrides: Mapping[str, Any]) -> MixRecipe:
    """A recipe file, with values laid over it. Raises ConfigError: not YAML, an unknown key, a wrong value."""
    values, _ = merge_layers([*read_layers(path), Layer("the command line", overrides)])
    return build(MixRecipe, values, where=str(path))


def _exact(share: float | None) -> Fraction | None:
    """0.7 as seven tenths, which its float is not."""
    return None if share is None else Fraction(str(share))


def amounts(recipe: MixRecipe, sizes: Sequence[int]) -> list[int]:
    """How much of each of `recipe.parts()` is taken, in the unit of `recipe.by`; `sizes` is what each has.

    Raises DataError where the parts cannot give it.
    """
    parts = recipe.parts()
    wanted = _amounts(recipe, parts, sizes)
    if recipe.stop == "first_exhausted":
        for part, amount, size in zip(parts, wanted, sizes, strict=True):
            if amount > size and part.role != "upsample":
                raise DataError(_too_little(recipe, part, amount, size))
    return wanted


def _amounts(recipe: MixRecipe, parts: Sequence[Part], sizes: Sequence[int]) -> list[int]:
    own = [i for i, part in enumerate(parts) if part.role == "share"]
    replay = [i for i, part in enumerate(parts) if part.role == "replay"]
    replay_shares = [part.number for part in parts if part.role == "replay" and part.number is not None]
    wanted = [int(part.number) * size if part.role == "upsample" and part.number else 0
              for part, size in zip(parts, sizes, strict=True)]  # fmt: skip
    fixed = sum(wanted)
    shares = _shares(recipe, [parts[i] for i in own], [sizes[i] for i in own])
    if recipe.total is not None:
        shared = _divide(recipe, recipe.total, fixed, shares, replay_shares)
    else:
        mine = _all_there_is(recipe, shares, [sizes[i] for i in own])
        shared = [*mine, *beside(fixed + sum(mine), replay_shares)]
    for i, amount in zip([*own, *replay], shared, strict=True):
        wanted[i] = amount
    return wanted


def _shares(recipe: MixRecipe, parts: Sequence[Part], sizes: Sequence[int]) -> list[Fraction]:
    if not parts:
        return []
    stated = [part.number for part in parts if part.number is not None]
    return normalised(stated) if stated else by_temperature(sizes, recipe.temperature or 1.0)


def _all_there_is(recipe: MixRecipe, shares: Sequence[Fraction], sizes: Sequence[int]) -> list[int]:
    """Without a total: everything where nobody stated how to share, else until sources run out."""
    stated = recipe.temperature is not None or any(source.share is not None for source in recipe.sources)
    return until_exhausted(shares, sizes, recipe.stop) if stated else list(sizes)


def _divide(
    recipe: MixRecipe, total: int, fixed: int, shares: Sequence[Fraction], replay: Sequence[Fraction]
) -> list[int]:
    """A stated total, less the rows that are repeated, among the main sources and the replay."""
    beside(1, replay)
    left = total - fixed
    rest = Fraction(total) * (1 - sum(replay, Fraction(0))) - fixed
    if rest < 0 or (rest == 0 and shares):
        raise DataError(
            f"the repeated rows alone come to {fixed:,} {recipe.by}, which leaves nothing of a total of {total:,} "
            "for the other sources; take a larger total or repeat less"
        )
    if not shares:
        raise DataError("a total needs sources to fill it; repeated rows and replay alone have one size")
    return largest_remainder(
        [*(share * rest for share in shares), *(share * total for share in replay)], left
    )


def _too_little(recipe: MixRecipe, part: Part, amount: int, size: int) -> str:
    what = "the replay" if part.role == "replay" else "its share"
    return (
        f"{part.path}: {what} comes to {amount:,} {recipe.by}, but it has {size:,}; take a smaller "
        f"{'share' if part.role == 'replay' or recipe.total is None else 'total'}, or let rows be repeated "
        "with the stop all_exhausted"
    )


def parse_part(text: str, key: str, *, needed: bool = True) -> dict[str, Any]:
    """`chat.jsonl=0.7` as {"path": "chat.jsonl", key: 0.7}; without a number only the path, unless it is needed.

    Raises DataError where the number is missing, or is none.
    """
    path, equals, number = text.rpartition("=")
    try:
        if equals and path:
            return {"path": path, key: int(number) if key == "times" else float(number)}
    except ValueError:
        if needed or not Path(text).exists():  # a name may hold a `=` of its own
            kind = "a whole number" if key == "times" else "a number"
            raise DataError(f"{text!r}: expected {kind} after the '=', got {number!r}") from None
    if needed:
        raise DataError(
            f"{text!r}: expected FILE={'TIMES' if key == 'times' else 'SHARE'}, such as {text}=0.1"
        )
    return {"path": text}
