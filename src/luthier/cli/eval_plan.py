"""`luthier eval plan`: how many items a comparison needs, before any is written."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from rich.table import Table

FEW_ITEMS = 50  # the number that is so often said to suffice


def plan(
    gap: Annotated[
        float, typer.Option(help="The gain in accuracy that must not be missed: 0.1 is ten points.")
    ] = 0.1,
    power: Annotated[float, typer.Option(help="The chance to see it, if it is there.")] = 0.8,
    discordance: Annotated[
        float | None,
        typer.Option(
            help="The share of items that only one of the two models has right. Without it: a table."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="The chance to see a difference where there is none.")] = 0.05,
    items: Annotated[
        int, typer.Option(min=1, help="A number of items: what gap can it show, and how likely?")
    ] = FEW_ITEMS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How many items it takes to show a gap, by the exact power of McNemar's test. Asks no model."""
    chosen = (discordance,) if discordance is not None else _discordances(gap)
    rows = [_row(gap, power, share, alpha, items) for share in chosen]
    if json:
        print_json({"gap": gap, "power": power, "alpha": alpha, "items": items, "rows": rows})
        return
    screen = console()
    screen.print(_table(rows, items))
    screen.print(
        f"To see a gain of {gap:.1%} with a chance of {power:.0%} (exact McNemar test, p < {alpha:g}), write as "
        "many items as stand beside the share of them that you expect only one of the two models to have right "
        "(`luthier compare` on a few items shows it: won + lost, by all). Not knowing it, take the last row.",
    )


def _discordances(gap: float) -> tuple[float, ...]:
    """From "nothing is lost" to half of all items, which is what two unrelated models at 50% come to."""
    shares = (gap, 1.5 * gap, 2 * gap, 3 * gap, 0.5)
    return tuple(sorted({round(share, 6) for share in shares if gap <= share <= max(gap, 0.5)}))


def _row(gap: float, power: float, discordance: float, alpha: float, items: int) -> dict[str, Any]:
    from luthier.evaluation.stats import items_needed, mcnemar_power, smallest_gap

    return {
        "discordance": discordance,
        "won": (discordance + gap) / 2,
        "lost": (discordance - gap) / 2,
        "items_needed": items_needed(gap, discordance, power, alpha),
        "power_with_items": mcnemar_power(items, gap, discordance, alpha),
        "smallest_gap_with_items": smallest_gap(items, discordance, power, alpha),
    }


def _table(rows: list[dict[str, Any]], items: int) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in (
        "only one right",
        "won",
        "lost",
        "items needed",
        f"chance with {items} items",
        f"smallest gap with {items} items",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        smallest = row["smallest_gap_with_items"]
        table.add_row(
            f"{row['discordance']:.1%}",
            f"{row['won']:.1%}",
            f"{row['lost']:.1%}",
            f"{row['items_needed']:,}",
            f"{row['power_with_items']:.0%}",
            "none" if smallest is None else f"{smallest:.1%}",
        )
    return table
