"""`luthier score`: what a reward model thinks of the answers of a file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.common import console, model_ref, print_json, quiet_libraries


def score(
    model: Annotated[str, typer.Argument(help="A run of the objective reward, or a reward model.")],
    data: Annotated[
        str, typer.Argument(help="Rows with answers: preferences, labelled answers, conversations.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write one JSON line for each row: place, score or chosen, rejected, agrees."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="The format of the rows, where it is not recognised.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows scored at once.")] = 16,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score answers with a reward model; of preferences, how often the chosen one has the higher score."""
    from rich.progress import Progress

    from luthier.errors import ConfigError
    from luthier.models.reward import load_reward_model
    from luthier.training.scoring import Scored, score_file

    quiet_libraries()
    if dtype not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"--dtype: expected auto, float32 or bfloat16, got {dtype!r}")
    if out is not None and out.exists():
        raise ConfigError(f"--out: {out} exists; choose another name")
    loaded = load_reward_model(model_ref(model), dtype=dtype)
    scored: list[Scored] = []
    with Progress(console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task("scoring", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        scored.extend(score_file(loaded, data, batch_size=batch_size, format=format, progress=tell))
    if out is not None:
        _write(out, [one.record for one in scored])
    summary = _summary(scored)
    if json:
        print_json(summary | ({} if out is not None else {"rows": [one.record for one in scored]}))
        return
    screen = console()
    if out is None:
        for one in scored:
            screen.print(_line(one), soft_wrap=True, markup=False)
    screen.print(", ".join(f"{key}: {_number(value)}" for key, value in summary.items()), soft_wrap=True)


def _summary(scored: list[Any]) -> dict[str, Any]:
    """num_rows, mean_score; of preferences num_pairs, agreement (its share) and its 95% interval too."""
    from luthier.evaluation.stats import wilson_interval

    every = [one.chosen for one in scored] + [one.rejected for one in scored if one.rejected is not None]
    summary: dict[str, Any] = {"num_rows": len(scored), "mean_score": sum(every) / max(1, len(every))}
    pairs = [one for one in scored if one.rejected is not None]
    if pairs:
        agreeing = sum(one.chosen > one.rejected for one in pairs)
        interval = wilson_interval(agreeing, len(pairs))
        summary |= {
            "num_pairs": len(pairs),
            "agreement": agreeing / len(pairs),
            "agreement_low": interval.low,
            "agreement_high": interval.high,
            "mean_margin": sum(one.chosen - one.rejected for one in pairs) / len(pairs),
        }
    return summary


def _line(one: Any) -> str:
    if one.rejected is None:
        return f"{one.chosen:9.4f}  {one.place}"
    sign = ">" if one.chosen > one.rejected else "<="
    return f"{one.chosen:9.4f} {sign:>2} {one.rejected:9.4f}  {one.place}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _write(out: Path, records: list[dict[str, Any]]) -> None:
    from json import dumps

    from luthier.files import write_text_atomic

    write_text_atomic(out, "".join(dumps(record, ensure_ascii=False) + "\n" for record in records))
