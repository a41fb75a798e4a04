"""`luthier guard`: what a policy makes of a text, and how often its guards are wrong.

Imports nothing heavy at its top.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from luthier.cli.common import console, print_json, read_text_option

if TYPE_CHECKING:
    from luthier.serving.guards.cases import CaseReport, OrdinaryReport

app = typer.Typer(help="What may be asked and said: check a text, measure a policy.", no_args_is_help=True)

Policy = Annotated[Path | None, typer.Option(help="A policy (YAML). Default: the one of guard policy.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    text: Annotated[str, typer.Argument(help="What is asked or answered, or @FILE.")],
    policy: Policy = None,
    side: Annotated[Literal["input", "output"], typer.Option(help="A question or an answer.")] = "input",
    context: Annotated[str | None, typer.Option(help="What the answer has to rest on, or @FILE.")] = None,
    json: Json = False,
) -> None:
    """What follows: allow, flag, redact or refuse (exit code 1), with reasons."""
    from luthier.chat.messages import Message
    from luthier.errors import ConfigError
    from luthier.serving.guards import Action, load_guards

    said = read_text_option(text) or ""
    if context is not None and side == "input":
        raise ConfigError("--context belongs to an answer: --side output")
    guards = load_guards(policy)
    if side == "input":
        verdict = guards.check_input([Message("user", said)])
        shown = verdict.text or verdict.messages[-1].content
    else:
        verdict = guards.check_output(said, (), read_text_option(context))
        shown = verdict.text
    if json:
        print_json({"action": verdict.action.value, "reasons": list(verdict.reasons), "text": shown})
    else:
        screen = console()
        screen.print(verdict.action.value, markup=False)
        for reason in verdict.reasons:
            screen.print(f"  {reason}", markup=False, soft_wrap=True)
        if shown != said:
            screen.print(shown, markup=False, soft_wrap=True)
    raise typer.Exit(1 if verdict.action is Action.REFUSE else 0)


@app.command("policy")
def show_policy(policy: Policy = None) -> None:
    """Print the whole policy, as a file to copy and change."""
    from luthier.serving.guards.policy import load_guard_policy, policy_yaml

    print(policy_yaml(load_guard_policy(policy)), end="")


@app.command()
def test(
    policy: Policy = None,
    cases: Annotated[list[Path] | None, typer.Option(help="Cases (JSONL) beside those that ship.")] = None,
    ordinary: Annotated[
        list[str] | None, typer.Option(help="Files of rows whose questions nothing should be wrong with.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure each guard on its cases, and the whole policy on ordinary questions: detection, false alarms, cost."""
    from dataclasses import asdict

    from luthier.serving.guards import load_guards
    from luthier.serving.guards.cases import load_cases, measure_cases, measure_ordinary, shipped_cases

    guards = load_guards(policy)
    found = [*shipped_cases(), *(case for path in cases or () for case in load_cases(path))]
    reports = measure_cases(guards, found)
    files = {place: measure_ordinary(guards, _questions(place)) for place in ordinary or ()}
    if json:
        print_json(
            {
                "cases": [asdict(report) for report in reports],
                "ordinary": {place: asdict(report) for place, report in files.items()},
            }
        )
        return
    _tell(reports)
    for place, report in files.items():
        _tell_ordinary(place, report)


def _questions(place: str) -> list[str]:
    from luthier.data.questions import read_questions

    return read_questions(place)


def _tell(reports: "list[CaseReport]") -> None:
    from rich.table import Table

    table = Table("guard", "detected", "false alarms", "ms a text (p50, p95)")
    for report in reports:
        if not report.is_on:
            table.add_row(report.guard, "not in the policy", "", "")
            continue
        table.add_row(
            report.guard,
            f"{report.num_detected} of {report.num_bad}",
            f"{report.num_false_alarms} of {report.num_good}",
            f"{report.p50_milliseconds:.3f}, {report.p95_milliseconds:.3f}",
        )
    console().print(table)
    for report in reports:
        for text in (*report.missed, *report.alarmed):
            console().print(f"{report.guard}: {text}", markup=False, soft_wrap=True)


def _tell_ordinary(place: str, report: "OrdinaryReport") -> None:
    told = ", ".join(f"{count} {action}" for action, count in report.actions.items()) or "none touched"
    console().print(
        f"{place}: {report.num_questions:,} questions, {told}; {report.p50_milliseconds:.3f} ms each "
        f"(p95 {report.p95_milliseconds:.3f})",
        markup=False,
        soft_wrap=True,
    )
    for reason, count in report.reasons.items():
        console().print(f"  {count:>6,}  {reason}", markup=False)
