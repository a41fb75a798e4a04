"""A specialist on one page for whoever decides about it: what it is, what it can do, what it came from, what it cost.

A file without network and without scripts. What is not known stands there as not known, with the command that would
measure it. Knows nothing of models: it reads the version's files and records.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from luthier.errors import RegistryError, RunError
from luthier.files import write_text_atomic
from luthier.hashing import short_id
from luthier.page import html
from luthier.pipeline.specialist_evidence import gate_section, pair_told, results_section, samples_section
from luthier.pipeline.specialist_results import EVALUATION, FORMAT
from luthier.registry.runs import Run, RunStatus, StatusRecord
from luthier.registry.specialist import Specialist
from luthier.registry.specialist_lineage import lineage, render_tree
from luthier.registry.specialists import SpecialistStore
from luthier.training.progress import format_bytes, format_seconds
from luthier.training.report import (
    Record,
    best_point,
    curves,
    diagnosis_section,
    environment_table,
    read_record,
    settings_table,
)

RUN_FILES = ("recipe.yaml", "resolved.json", "data.json", "environment.json", "metrics.jsonl")
_LOOKS: Mapping[str, html.Look] = {"ship": "good", "reject": "bad"}
_NUM_EXAMPLES = 5
_DATA_COLUMNS = ("role", "path", "rows", "tokens", "supervised_tokens", "repeated_rows", "dataset", "sha256")


@dataclass(frozen=True)
class _Known:
    """All that the page is made of. `run`: what the run said of itself, None where its files did not travel along."""

    one: Specialist
    run: Record | None
    verdict: Mapping[str, Any] | None
    results: tuple[Mapping[str, Any], ...]
    examples: tuple[Mapping[str, Any], ...]
    words: tuple[str, ...]
    tree: tuple[str, ...]
    history: tuple[str, ...]
    price_per_hour: float | None


def write_specialist_report(
    store: SpecialistStore, one: Specialist, path: Path, *, price_per_hour: float | None = None
) -> Path:
    """Write the page of a version; returns its path.

    `price_per_hour`: of the machine that trained it, in any currency; without it no cost is told. Raises RegistryError
    where the version's bytes are damaged or a record is not what it should be, RunError where a file of its run cannot
    be read.
    """
    verdicts = store.records(one, "verdict")
    known = _Known(
        one,
        _run(store, one),
        verdicts[-1]["body"] if verdicts else None,
        _last_by_name(record["body"] for record in store.records(one, EVALUATION)),
        _examples(store, one),
        tuple(word for word, number in store.aliases(one.name).items() if number == one.number),
        tuple(render_tree(lineage(store, one))),
        tuple(event.told for event in store.history(one.name)),
        price_per_hour,
    )
    try:
        page = _page(known)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(
            f"{one.ref}: a record is not in the form that this Luthier writes ({type(error).__name__}: {error})"
        ) from error
    write_text_atomic(path, page)
    return path


def refresh_report(store: SpecialistStore, one: Specialist) -> Path | None:
    """Write the page that lies beside the store; its path, None where the store is no folder."""
    place = report_place(store, one)
    return None if place is None else write_specialist_report(store, one, place)


def report_place(store: SpecialistStore, one: Specialist) -> Path | None:
    """Where the page of a version lies beside a store in a folder; None where the store is elsewhere."""
    return None if "://" in store.root else Path(store.root) / "reports" / f"{one.ref}.html"


def _run(store: SpecialistStore, one: Specialist) -> Record | None:
    present = [name for name in RUN_FILES if name in one.files]
    if "recipe.yaml" not in present and "resolved.json" not in present:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        for name in present:
            store.artifacts.copy(one.files[name], Path(scratch) / name)
        # Only finished runs become specialists.
        status = StatusRecord(RunStatus.FINISHED, one.created, None, None)
        return read_record(Run(Path(scratch)), status)


def _last_by_name(bodies: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Of several results of one name, the last; those of another form are left to whoever wrote them."""
    named = {str(body.get("name")): body for body in bodies if body.get("format") == FORMAT}
    return tuple(named.values())


def _examples(store: SpecialistStore, one: Specialist) -> tuple[Mapping[str, Any], ...]:
    if "examples.jsonl" not in one.files:
        return ()
    try:
        with store.artifacts.open(one.files["examples.jsonl"]) as file:
            return tuple(json.loads(line) for line in file.read().splitlines()[:_NUM_EXAMPLES])
    except ValueError as error:
        raise RunError(f"{one.ref}: examples.jsonl: expected JSON lines: {error}") from error


def _page(known: _Known) -> str:
    sections = [
        _header(known),
        html.facts(_facts(known)),
        *results_section(known.one.ref, known.results),
        gate_section(known.one.ref, known.verdict),
        *samples_section(known.one.ref, known.results),
        _data_card(known),
        _training(known),
        _hardware(known),
        _what_it_is(known.one),
        _origin(known),
    ]
    title = f"{known.one.ref} · Luthier specialist"
    return html.render_frame(
        title, sections, f"Written by Luthier from the store of specialists. {known.one.id}"
    )


def _header(known: _Known) -> str:
    word = str((known.verdict or {}).get("word") or "no verdict")
    pill = html.pill(word, _LOOKS.get(word, "wait" if known.verdict else "quiet"))
    used = f"{' and '.join(known.words) or 'not promoted'}".capitalize() + f" on {date.today()}."
    message = str(known.one.manifest.get("message") or "")
    said = f"{message.rstrip('.')}. " if message else ""
    return html.header(known.one.ref, pill, f"{said}{used} Kept {known.one.created[:10]}.")


def _facts(known: _Known) -> list[tuple[str, str, str]]:
    one, run = known.one, known.run
    base = (
        (one.manifest.get("base") or {}).get("name")
        or (run and run.settings.get("model.name"))
        or "not known"
    )
    data = one.manifest.get("data") or ()
    rows = sum(entry.get("rows") or 0 for entry in data if entry.get("role") == "train")
    result, against = pair_told(known.results)
    licence = one.manifest.get("licence")
    return [
        ("Result", result, against),
        ("Base", str(base), ""),
        ("Method", str(run.settings.get("method.name", "not known")) if run else "not known", ""),
        ("Training rows", f"{rows:,}" if rows else "not known", ""),
        (
            "Size",
            format_bytes(one.num_bytes),
            "adapter" if one.manifest.get("form") == "adapter" else "weights",
        ),
        ("Training time", _seconds_told(run), ""),
        ("Cost", *_cost(known)),
        ("Licence", str(licence or "not said"), "" if licence else "luthier specialists commit --licence"),
    ]


def _seconds(run: Record | None) -> float | None:
    seconds = run.end.get("seconds") if run else None
    return float(seconds) if seconds is not None else None


def _seconds_told(run: Record | None) -> str:
    seconds = _seconds(run)
    return format_seconds(seconds) if seconds is not None else "not known"


def _cost(known: _Known) -> tuple[str, str]:
    seconds = _seconds(known.run)
    if seconds is None:
        return "not known", "its run's metrics did not travel along"
    if known.price_per_hour is None:
        return "not said", "--price-per-hour gives the machine's price"
    return (
        f"{seconds / 3600 * known.price_per_hour:,.4f}",
        f"at {known.price_per_hour:g} an hour, training alone",
    )


def _data_card(known: _Known) -> str:
    data = known.one.manifest.get("data") or ()
    if not data:
        return _missing("Data", "Nothing is known of the data: it was committed without its run.")
    columns = [name for name in _DATA_COLUMNS if any(name in entry for entry in data)]
    rows = [[_cell(name, entry.get(name)) for name in columns] for entry in data]
    table = html.table_of([name.replace("_", " ") for name in columns], rows)
    asked = "".join(f'<li class="text">{html.text(_question(one))}</li>' for one in known.examples)
    shown = f"<h3>What it was asked in training, for example</h3><ul>{asked}</ul>" if asked else ""
    reasons = (known.verdict or {}).get("reasons") or ()
    leaks = next((str(one.get("text")) for one in reasons if one.get("criterion") == "leaks"), None)
    told = leaks or "Not measured: the gate holds the evaluation items against the training rows."
    return f'<h2>Data</h2>{table}<p><strong>Leaks.</strong> <span class="text">{html.text(told)}</span></p>{shown}'


def _cell(column: str, value: Any) -> Any:
    return short_id(str(value)) if column == "sha256" and value else value


def _question(example: Mapping[str, Any]) -> str:
    turns = example.get("messages") or ()
    return "\n".join(f"{turn.get('content')}" for turn in turns if isinstance(turn, Mapping))


def _training(known: _Known) -> str:
    run = known.run
    if run is None:
        return _missing("Training", "Its run's files did not travel along: no curve is known.")
    if not run.steps and not run.evaluations:
        return _missing("Training", "No metrics travelled along: no curve is known.")
    best = best_point(run)
    told = (
        f"Best validation loss {best[1]:.4f} at step {best[0]:,.0f}."
        if best
        else "No validation loss was measured."
    )
    settings = f"<details><summary>Every setting</summary>{settings_table(run)}</details>"
    return f"<h2>Training</h2><p>{html.text(told)}</p>{curves(run)}{diagnosis_section(run)}{settings}"


def _hardware(known: _Known) -> str:
    run = known.run
    if run is None or not run.environment:
        return _missing("Hardware and cost", "The machine that trained it is not known.")
    machine = run.environment
    peaks = [int(event["peak_memory_bytes"]) for event in run.steps if event.get("peak_memory_bytes")]
    tokens = run.steps[-1].get("tokens") if run.steps else None
    memory = machine.get("memory_bytes")
    cost, note = _cost(known)
    named = [
        ("machine", f"{machine.get('machine')}, {machine.get('cores')} cores"),
        ("memory", format_bytes(memory) if memory else "not known"),
        ("peak memory of the training", format_bytes(max(peaks)) if peaks else "not measured"),
        ("tokens trained", f"{tokens:,}" if tokens else "not known"),
        ("time", _seconds_told(run)),
        ("cost", f"{cost} ({note})"),
        ("energy", "not measured"),
    ]
    more = f"<details><summary>Machine and versions</summary>{environment_table(run)}</details>"
    return f"<h2>Hardware and cost</h2>{html.table_of(('what', 'value'), named)}{more}"


def _what_it_is(one: Specialist) -> str:
    prompt = one.system_prompt
    shown = (
        '<p class="empty">It has none: it was trained and tested without.</p>'
        if prompt is None
        else f'<pre class="text">{html.text(prompt)}</pre>'
    )
    manifest = one.manifest
    named = [
        (key, json.dumps(manifest.get(key), ensure_ascii=False))
        for key in ("sampling", "stop_ids", "template")
    ]
    files = [
        (path, format_bytes(file.num_bytes), file.id.removeprefix("sha256:"))
        for path, file in one.files.items()
    ]
    listed = html.table_of(("file", "size", "sha256"), files)
    return (
        f"<h2>How it is asked</h2><h3>System prompt, byte for byte</h3>{shown}"
        f"{html.table_of(('what', 'value'), named)}<details><summary>Its {len(files)} files</summary>{listed}</details>"
    )


def _origin(known: _Known) -> str:
    tree = html.text("\n".join(known.tree))
    happened = "".join(f'<li class="text">{html.text(line)}</li>' for line in known.history)
    return (
        f'<h2>Where it comes from</h2><pre class="text">{tree}</pre><h2>What happened</h2><ul>{happened}</ul>'
    )


def _missing(title: str, why: str) -> str:
    return f'<h2>{html.text(title)}</h2><p class="empty">{html.text(why)}</p>'
