"""`luthier router`: who answers which question, learnt from questions, measured, and explained.

Imports nothing heavy at its top.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.data.semantic import Embed
    from luthier.serving.router.report import Regret, RouterReport

app = typer.Typer(name="router", help="Who answers which question.", no_args_is_help=True)

Named = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=FILE...", help="A specialist and the questions that are its own."),
]
General = Annotated[list[str] | None, typer.Option(help="Questions that are no specialist's: files of rows.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    pass


@app.command()
def train(
    named: Named = None,
    general: General = None,
    specialists: Annotated[
        list[str] | None,
        typer.Option("--specialist", help="A specialist of the store: its own examples are its questions."),
    ] = None,
    semantic: Annotated[
        bool, typer.Option(help="Read what a question means, too (extra embed): tens of ms a decision.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The router's folder.")] = Path("router"),
    json: Json = False,
) -> None:
    """Learn whose question is whose. The general ones teach what is to be left to the base."""
    from luthier.errors import ConfigError
    from luthier.serving.router import save_router
    from luthier.serving.router.training import train_router

    questions = read_named(named or []) | {ref: _examples(ref) for ref in specialists or []}
    if not questions or not general:
        raise ConfigError(
            "expected specialists with their questions, and questions that are nobody's: "
            "luthier router train NAME=FILE... --general FILE"
        )
    router = train_router(questions, read_all(general), embed=_embedder() if semantic else None)
    save_router(router, out)
    if json:
        print_json({"router": str(out), **router.trained_on, "temperature": router.temperature})
        return
    told = ", ".join(f"{name} {count}" for name, count in router.trained_on["questions"].items())
    console().print(f"{out}: learnt from the questions of {told}", markup=False, soft_wrap=True)
    console().print("measure it on questions that it has not seen: luthier router eval", markup=False)


@app.command(name="eval")
def evaluate(
    router: Annotated[Path, typer.Argument(help="The router's folder.")],
    named: Named = None,
    general: General = None,
    scores: Annotated[
        Path | None,
        typer.Option(help='Regret: JSON lines {"question": ..., "scores": {NAME: 0..1, ..., "base": 0..1}}.'),
    ] = None,
    json: Json = False,
) -> None:
    """Accuracy, recall of each, the abstention curve, out-of-domain detection; with --scores, regret and harm."""
    from luthier.errors import ConfigError
    from luthier.serving.router import load_router
    from luthier.serving.router.report import evaluate_router, regret

    loaded = load_router(router, _embedder)
    if not named and scores is None:
        raise ConfigError(
            "expected questions with their owners: luthier router eval ROUTER NAME=FILE... [--general FILE]"
        )
    report = evaluate_router(loaded, read_named(named), read_all(general or [])) if named else None
    cost = regret(loaded, *_scores(scores)) if scores is not None else None
    if json:
        print_json(
            {
                "report": report.to_dict() if report else None,
                "regret": {name: getattr(cost, name) for name in cost.__dataclass_fields__} if cost else None,
            }
        )
        return
    if report:
        _tell(report)
    if cost:
        _tell_regret(cost)


@app.command()
def explain(
    router: Annotated[Path, typer.Argument(help="The router's folder.")],
    text: Annotated[str, typer.Argument(help="A question.")],
    json: Json = False,
) -> None:
    """Who would answer, how sure, and which words and pieces of words say so."""
    from luthier.serving.router import load_router

    loaded = load_router(router, _embedder)
    decision = loaded.route(text)
    likeliest = max((p, name) for name, p in decision.probabilities.items() if name in loaded.specialists)[1]
    reasons = loaded.explain(text, decision.specialist or likeliest)[:10]
    if json:
        told = {name: getattr(decision, name) for name in decision.__dataclass_fields__}
        print_json(told | {"for": decision.specialist or likeliest, "because": reasons})
        return
    screen = console()
    screen.print(f"{decision.word.value}: {decision.specialist or 'base'} ({decision.why})", markup=False)
    for name, probability in decision.probabilities.items():
        screen.print(f"  {probability:6.1%}  {name}", markup=False)
    screen.print(f"what speaks for {decision.specialist or likeliest}:", markup=False)
    screen.print(
        "  " + ", ".join(f"{name!r} {weight:+.2f}" for name, weight in reasons), markup=False, soft_wrap=True
    )


def read_named(named: Sequence[str]) -> dict[str, list[str]]:
    """The questions of NAME=FILE, a name as often as there are files of it. Raises ConfigError, DataError."""
    from luthier.errors import ConfigError

    found: dict[str, list[str]] = {}
    for one in named:
        name, equals, path = one.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"expected NAME=FILE, got {one!r}")
        found.setdefault(name, []).extend(read_all([path]))
    return found


def _embedder() -> "Embed":
    from luthier.data.semantic import open_embedder

    return open_embedder()


def read_all(places: Sequence[str]) -> list[str]:
    """The questions of some files. Raises DataError."""
    from luthier.data.questions import read_questions

    return [question for place in places for question in read_questions(place)]


def _examples(ref: str) -> list[str]:
    """The questions that travel with a specialist."""
    from luthier.data.questions import read_questions
    from luthier.errors import RegistryError
    from luthier.registry.specialists import default_store

    store = default_store()
    path = store.opened(store.find(ref)) / "examples.jsonl"
    if not path.exists() or not path.stat().st_size:
        raise RegistryError(f"{ref}: no questions travel with it; give them as {ref}=FILE")
    return read_questions(str(path))


def _scores(path: Path) -> tuple[list[str], dict[str, list[float]]]:
    import json

    from luthier.errors import DataError

    items: list[str] = []
    scores: dict[str, list[float]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            items.append(str(row["question"]))
            for name, score in row["scores"].items():
                scores.setdefault(name, []).append(float(score))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f'{path}:{number}: expected {{"question": ..., "scores": {{NAME: number}}}}, got {line[:80]!r}'
            ) from error
    return items, scores


def _tell(report: "RouterReport") -> None:
    from rich.table import Table

    screen = console()
    low, high = report.accuracy_interval
    screen.print(
        f"{report.accuracy:.1%} of {report.num_questions} questions find their owner ({low:.1%} to {high:.1%})"
    )
    screen.print(
        f"{report.answered:.1%} are handed to a specialist, of those {report.answered_right:.1%} to the right one"
    )
    if report.auroc is not None:
        screen.print(
            f"{report.general_kept:.1%} of {report.num_general} general ones stay with the base; told apart: AUROC "
            f"{report.auroc:.3f}"
        )
    screen.print(f"calibration error {report.calibration_error:.3f}")
    table = Table("specialist", "recall")
    for name, recall in sorted(report.recall.items(), key=lambda item: item[1]):
        table.add_row(name, f"{recall:.1%}")
    screen.print(table)
    curve = Table("answered", "of them right")
    for share, right in report.curve[3::4]:
        curve.add_row(f"{share:.0%}", f"{right:.1%}")
    screen.print(curve)
    for owner, chosen, count in report.confused[:5]:
        screen.print(f"{count} of {owner} went to {chosen}", markup=False)


def _tell_regret(cost: "Regret") -> None:
    console().print(
        f"{cost.num_items} items: chosen {cost.chosen:.3f}, the best of all {cost.best:.3f}, the base {cost.base:.3f}; "
        f"regret {cost.regret:.3f}; {cost.harmed} answered worse than by the base (costs {cost.harm:.3f})"
    )
