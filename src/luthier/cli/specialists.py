"""`luthier specialists`: what was kept, what runs in production, and the way back.

Imports nothing heavy at its top.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json, read_text_option, warn

if TYPE_CHECKING:
    from luthier.registry.specialist import NamedKnowledge, Specialist
    from luthier.registry.specialists import SpecialistStore

app = typer.Typer(
    help="Specialists: keep a finished run as a version, promote it, roll back. Without a verb: list them.",
    invoke_without_command=True,
)

Ref = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="NAME, NAME@3, NAME@production, NAME@ID.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Alias = Annotated[str, typer.Option("--as", help="The word that means this version.")]
Reason = Annotated[str | None, typer.Option(help="Why; it is kept.")]


def _store() -> "SpecialistStore":
    from luthier.registry.specialists import default_store

    return default_store()


def _say(text: str) -> None:
    """A line as it is: no markup, cut by nobody."""
    console().print(text, markup=False, soft_wrap=True)


@app.callback()
def specialists(context: typer.Context, json: Json = False) -> None:
    """List specialists: versions, sizes, verdicts, and which are in production."""
    if context.invoked_subcommand is not None:
        return
    store = _store()
    rows = [_summary(store, one) for name in store.names() for one in store.versions(name)]
    if json:
        print_json(rows)
        return
    if not rows:
        _say("no specialists yet; keep a finished run: luthier specialists commit RUN --name NAME")
        return
    _table(rows)


def _summary(store: "SpecialistStore", one: "Specialist") -> dict[str, Any]:
    verdicts = store.records(one, "verdict")
    return {
        "ref": one.ref,
        "id": one.id,
        "created": one.created,
        "form": one.manifest.get("form"),
        "base": (one.manifest.get("base") or {}).get("name"),
        "bytes": one.num_bytes,
        "verdict": verdicts[-1]["body"].get("word") if verdicts else None,
        "aliases": [word for word, number in store.aliases(one.name).items() if number == one.number],
        "message": one.manifest.get("message"),
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("specialist", "is", "verdict", "form", "size", "kept", "message"):
        table.add_column(column, overflow="fold")
    for row in rows:
        size = f"{row['bytes'] / 1e6:.1f} MB"
        words = ", ".join(row["aliases"])
        verdict = row["verdict"] or "none"
        table.add_row(row["ref"], words, verdict, row["form"], size, row["created"][:10], row["message"])
    console().print(table)


@app.command()
def commit(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    name: Annotated[str, typer.Option(help="The specialist's name: a-z, 0-9, '.', '_', '-'.")],
    system: Annotated[
        str | None,
        typer.Option(help="Its system prompt, or @FILE. Default: the one that its training rows share."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="The licence of what ships, such as Apache-2.0.")
    ] = None,
    message: Annotated[str, typer.Option("-m", "--message", help="What is new about it.")] = "",
    knowledge: Annotated[
        str | None, typer.Option(help="The base of knowledge that it answers from (luthier knowledge).")
    ] = None,
    passages: Annotated[
        int, typer.Option(min=1, help="How many of its passages a question is asked on.")
    ] = 4,
    json: Json = False,
) -> None:
    """Keep a run as the next version of a specialist: weights, template, prompt, recipe, data's hashes, examples."""
    from luthier.cli.common import quiet_libraries
    from luthier.pipeline.bundle import bundle_run
    from luthier.pipeline.specialist_report import refresh_report
    from luthier.registry.runs import open_run

    quiet_libraries()
    store = _store()
    found, new = bundle_run(
        store,
        open_run(run),
        name,
        system_prompt=read_text_option(system),
        licence=licence,
        message=message,
        knowledge=_knowledge(knowledge, passages),
        warn=warn,
    )
    page = refresh_report(store, found)
    if json:
        print_json({**_summary(store, found), "new": new})
    elif new:
        _say(f"kept as {found.ref} ({found.short_id}), {len(found.files)} files")
        _say(f"report: {page or f'luthier specialists report {found.ref} --out FILE'}")
    else:
        _say(f"{found.ref} is this very bundle already; nothing was changed")


def _knowledge(name: str | None, num_passages: int) -> "NamedKnowledge | None":
    """Raises ServingError where there is no such base here."""
    from luthier.registry.specialist import NamedKnowledge
    from luthier.serving.knowledge.base import default_folder
    from luthier.serving.knowledge.folder import read_contents

    if name is None:
        return None
    read_contents(default_folder(name))
    return NamedKnowledge(name, num_passages)


@app.command()
def show(ref: Ref, json: Json = False) -> None:
    """Show a version: its manifest, its verdicts, what happened to it."""
    store = _store()
    one = store.find(ref)
    records = store.records(one)
    if json:
        print_json({**_summary(store, one), "manifest": dict(one.manifest), "records": records})
        return
    summary = _summary(store, one)
    summary["base"] = summary["base"] or "none (whole weights)"
    _say(f"{one.ref}  {one.id}")
    for key in ("form", "base", "verdict", "created", "message"):
        _say(f"  {key:<12} {summary[key] or 'none'}")
    _say(f"  {'is':<12} {', '.join(summary['aliases']) or 'nothing'}")
    _say(f"  {'licence':<12} {one.manifest.get('licence') or 'not said'}")
    _say(f"  {'run':<12} {one.manifest.get('run')}")
    _say(f"  {'prompt':<12} {'none' if one.system_prompt is None else repr(one.system_prompt)}")
    if one.knowledge is not None:
        _say(f"  {'knowledge':<12} {one.knowledge.name}, {one.knowledge.num_passages} passages a question")
    for path, artifact in one.files.items():
        _say(f"  {artifact.num_bytes:>12,}  {path}")
    for record in records:
        word = record["body"].get("word", "")
        _say(f"  {record['created'][:19]}  {record['kind']} {word}")
    for event in store.history(one.name):
        _say(f"  {event.time[:19]}  {event.told}")


@app.command()
def results(
    ref: Ref,
    answers: Annotated[
        list[Path],
        typer.Argument(
            help="Answers saved by luthier eval on the same items: base, champion, ...; its own last."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What the items are called. Default: the last file's name.")
    ] = None,
) -> None:
    """Keep what was measured with a version: accuracies with intervals, verdicts, answers side by side."""
    from luthier.evaluation.runner import load_result
    from luthier.pipeline.specialist_report import refresh_report
    from luthier.pipeline.specialist_results import EVALUATION, evaluation_record

    store = _store()
    one = store.find(ref)
    body = evaluation_record(name or answers[-1].stem, [load_result(path) for path in answers])
    store.attach(one, EVALUATION, body)
    refresh_report(store, one)
    for pair in body["comparison"]["pairs"]:
        _say(f"{pair['second']} against {pair['first']}: {pair['statement']}")


@app.command()
def report(
    ref: Ref,
    out: Annotated[
        Path | None, typer.Option(help="The page to write. Default: reports/ beside the store.")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0.0, help="What the machine that trained it costs, to tell the cost.")
    ] = None,
) -> None:
    """Write a version's page: results with intervals, the gate's reasons, answers, data, curve, hardware and cost."""
    from luthier.errors import RegistryError
    from luthier.pipeline.specialist_report import report_place, write_specialist_report

    store = _store()
    one = store.find(ref)
    place = out or report_place(store, one)
    if place is None:
        raise RegistryError(f"{store.root} is no folder: say where the page goes with --out FILE")
    _say(f"{write_specialist_report(store, one, place, price_per_hour=price_per_hour)}")


@app.command()
def promote(
    ref: Ref,
    alias: Alias = "production",
    force: Annotated[bool, typer.Option("--force", help="Without a verdict `ship`; needs --reason.")] = False,
    reason: Reason = None,
) -> None:
    """Let a word mean this version from now on. Only with a verdict `ship`, or --force and a reason that is kept."""
    _say(_store().promote(ref, alias, reason=reason, force=force).told)


@app.command()
def rollback(name: str, alias: Alias = "production", reason: Reason = None) -> None:
    """Let a word mean again what it meant before its last promotion."""
    _say(_store().rollback(name, alias, reason=reason).told)


@app.command()
def unset(name: str, alias: Alias = "production") -> None:
    """Let a word mean nothing any more."""
    _say(_store().unset(name, alias).told)


@app.command()
def diff(first: Ref, second: Ref, json: Json = False) -> None:
    """What changed between two versions: data, recipe, bundle, results. Exit code 1 where something did."""
    from dataclasses import asdict

    from rich.table import Table

    from luthier.registry.specialist_diff import diff as changes_between
    from luthier.registry.specialist_diff import prompt_diff

    store = _store()
    one, other = store.find(first), store.find(second)
    changes = changes_between(store, one, other)
    if json:
        print_json([asdict(change) for change in changes])
    elif not changes:
        _say(f"{one.ref} and {other.ref} are the same")
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("", "what", one.ref, other.ref):
            table.add_column(column, overflow="fold")
        for change in changes:
            table.add_row(change.part, change.what, change.before or "", change.after or "")
        console().print(table)
        for line in prompt_diff(one.system_prompt, other.system_prompt, (one.ref, other.ref)):
            _say(line)
    raise typer.Exit(1 if changes else 0)


@app.command()
def lineage(
    ref: Ref,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print the graph for mermaid.js (GitHub draws it).")
    ] = False,
    json: Json = False,
) -> None:
    """Where a version comes from and where it went: data, base, run, verdicts, exports."""
    from luthier.registry.specialist_lineage import lineage as lineage_of
    from luthier.registry.specialist_lineage import render_mermaid, render_tree

    store = _store()
    graph = lineage_of(store, store.find(ref))
    if json:
        print_json(graph.to_dict())
        return
    for line in render_mermaid(graph) if mermaid else render_tree(graph):
        _say(line)


@app.command()
def verify(
    collect: Annotated[
        bool, typer.Option("--collect", help="Then remove bytes that no version needs.")
    ] = False,
    json: Json = False,
) -> None:
    """Check every hash in the store. Exit code 1 where something is damaged."""
    from dataclasses import asdict

    from luthier.registry.specialist_check import collect as collect_unneeded
    from luthier.registry.specialist_check import verify as verify_store

    store = _store()
    report = verify_store(store)
    removed = collect_unneeded(store) if collect and not report.problems else 0
    if json:
        print_json({**asdict(report), "word": report.word, "removed": removed})
    else:
        size = f"{report.num_bytes / 1e6:.1f} MB"
        _say(f"{report.word}: {report.num_versions} versions, {report.num_files} files, {size}")
        for problem in report.problems:
            _say(f"  {problem}")
        if report.unneeded and not removed:
            _say(f"{len(report.unneeded)} files that no version needs (--collect removes them)")
        if removed:
            _say(f"removed {removed} files that no version needed")
    raise typer.Exit(1 if report.problems else 0)


@app.command("export")
def export_to(
    ref: Ref,
    out: Annotated[Path, typer.Option(help="The archive to write.")],
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Write a version with its records to one file, for another store. (`luthier export` makes models to run.)"""
    from luthier.errors import RegistryError
    from luthier.registry.specialist_archive import export_archive

    if out.exists() and not force:
        raise RegistryError(f"{out}: exists; choose another name, or write over it with --force")
    store = _store()
    one = store.find(ref)
    export_archive(store, one, out)
    _say(f"{one.ref} written to {out} ({out.stat().st_size / 1e6:.1f} MB)")


@app.command("import")
def import_from(
    archive: Annotated[Path, typer.Argument(help="A file that `luthier specialists export` wrote.")],
    name: Annotated[str | None, typer.Option(help="Another name than its own.")] = None,
) -> None:
    """Read a version from a file; every hash is checked before anything is kept."""
    from luthier.registry.specialist_archive import import_archive

    found, new = import_archive(_store(), archive, name)
    _say(f"kept as {found.ref}" if new else f"{found.ref} is this very bundle already")


@app.command()
def remove(ref: Ref) -> None:
    """Forget a version. Refused while a word such as production means it."""
    from luthier.pipeline.specialist_report import report_place

    store = _store()
    found = store.remove(ref)
    if (page := report_place(store, found)) is not None:
        page.unlink(missing_ok=True)
    _say(f"removed {found.ref}; luthier specialists verify --collect frees its bytes")
