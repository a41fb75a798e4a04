"""`luthier gate`: may this candidate take the champion's place? A word, its reasons, an exit code.

Imports nothing heavy at its top.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, print_json, progress_bars, quiet_libraries, read_text_option
from luthier.files import file_name

if TYPE_CHECKING:
    from luthier.evaluation.gate import GateVerdict
    from luthier.pipeline.gate import GateJob

Paths = list[Path] | None


def gate(
    candidate: Annotated[
        str | None,
        typer.Argument(help="A run, a folder, an embedded name, a specialist NAME[@VERSION], URL#MODEL."),
    ] = None,
    champion: Annotated[
        str | None, typer.Option(help="What the candidate would replace; named alike.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="What has to be shown (YAML). Default: --show-policy.")
    ] = None,
    items: Annotated[
        Paths, typer.Option(help="What the candidate is for: evaluation items (JSONL) or a task (YAML).")
    ] = None,
    golden: Annotated[Paths, typer.Option(help="What must not get worse; alike.")] = None,
    other: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Another specialist's items or task.")
    ] = None,
    ordinary: Annotated[
        Path | None, typer.Option(help="Ordinary questions instead of the built-in ones.")
    ] = None,
    router: Annotated[Path | None, typer.Option(help="The router that the candidate would join.")] = None,
    next_router: Annotated[Path | None, typer.Option(help="The router trained with the candidate.")] = None,
    routed: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Questions of those who are in both routers, new to both."),
    ] = None,
    routed_general: Annotated[list[str] | None, typer.Option(help="Questions that are nobody's.")] = None,
    base: Annotated[str | None, typer.Option(help="What the candidate was trained from.")] = None,
    train: Annotated[
        list[str] | None, typer.Option(help="Training files, where the candidate has no run.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The candidate's system prompt, or @FILE.")] = None,
    champion_system: Annotated[
        str | None, typer.Option(help="The champion's system prompt, or @FILE.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where verdicts and answers are kept.")] = Path("gates"),
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked at once.")] = 32,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    show_policy: Annotated[bool, typer.Option("--show-policy", help="Print the policy and exit.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decide: ship (exit code 0), hold (3), reject (4) or not enough evidence (5), each reason with its number."""
    from luthier.cli.gate_routing import routing
    from luthier.errors import ConfigError
    from luthier.evaluation.gate import load_policy, policy_yaml
    from luthier.pipeline.gate import GateJob, existing_store

    asked = load_policy(policy)
    if show_policy:
        print(policy_yaml(asked), end="")
        return
    if candidate is None or champion is None:
        missing = "a candidate" if candidate is None else "--champion NAME"
        raise ConfigError(f"expected {missing}: luthier gate CANDIDATE --champion NAME --items FILE")
    job = GateJob(
        candidate=candidate,
        champion=champion,
        out=out / file_name(candidate),
        items=tuple(items or ()),
        policy=asked,
        policy_folder=policy.parent if policy is not None else Path(),
        golden=tuple(golden or ()),
        others=dict(_named(one) for one in other or ()),
        ordinary=ordinary,
        base=base,
        train=tuple(train or ()),
        system=read_text_option(system),
        champion_system=read_text_option(champion_system),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        dtype=dtype,
        store=existing_store(),
        routing=routing(router, next_router, routed or (), routed_general or ()),
    )
    verdict = _run(job)
    _tell(verdict, job.out, json)
    raise typer.Exit(verdict.exit_code)


def _run(job: "GateJob") -> "GateVerdict":
    """The gate with a progress bar on stderr."""
    from luthier.pipeline.gate import run_gate

    quiet_libraries()
    with progress_bars(console(stderr=True)) as tell:
        return run_gate(job, tell)


def _tell(verdict: "GateVerdict", folder: Path, as_json: bool) -> None:
    from luthier.evaluation.gate.screen import render_verdict

    if as_json:
        print_json(verdict.to_dict())
        return
    console().print(render_verdict(verdict))
    console().print(f"{folder / 'gate.html'}", markup=False, soft_wrap=True)


def _named(text: str) -> tuple[str, Path]:
    from luthier.errors import ConfigError

    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ConfigError(f"--other: expected NAME=FILE, got {text!r}")
    return name, Path(path)
