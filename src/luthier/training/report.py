"""report.html: one run for a person, in one file that needs neither network nor script.

`read_record` gathers what the run folder says, `write_report` lays it out; the page is made of `luthier.page`.
Set the run's status word first: the report shows what the folder says when it is written.
This file knows nothing of models: it reads recipe.yaml, resolved.json, metrics.jsonl, data.json,
environment.json and status.json.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from luthier.errors import RunError
from luthier.files import write_text_atomic
from luthier.page import html
from luthier.page.charts import Chart, Line, Point, draw
from luthier.registry.runs import Run, RunStatus, StatusRecord, open_run
from luthier.training.diagnose import Curve, Diagnosis, diagnose, rows_of_run
from luthier.training.progress import format_bytes, format_seconds
from luthier.training.tracking import smooth

_NONE = "—"
_GOOD_WORDS = frozenset({"passed", "finished"})
_BAD_WORDS = frozenset({"failed"})
_MAX_METRIC_LINES = 4


@dataclass(frozen=True, slots=True)
class Record:
    """What a run folder says of itself. Steps and evaluations: one per step number, the last one written."""

    name: str
    status: StatusRecord
    settings: Mapping[str, Any]
    """Dotted name -> value."""
    sources: Mapping[str, str]
    """Dotted name -> where the value came from; empty where the run does not say."""
    steps: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    messages: Sequence[str]
    end: Mapping[str, Any]
    total_steps: int | None
    data: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any]
    diagnosis: Diagnosis


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    A run without metrics yet gives a report that says so. Raises RunError where the folder is not a run, or
    one of its files cannot be read.
    """
    run = open_run(folder)
    record = read_record(run)
    write_text_atomic(run.report_path, _page(record))
    return run.report_path


def read_record(run: Run, status: StatusRecord | None = None) -> Record:
    """Gather the files of a run. `status`: its status where the folder does not say it.

    Raises RunError, naming the file, where one cannot be read.
    """
    events = run.read_metrics()
    settings, sources = _settings(run)
    starts = [event for event in events if event.get("event") == "start"]
    ends = [event for event in events if event.get("event") == "end"]
    data = _read_json(run.data_path, [])
    data = data if isinstance(data, list) else [data]
    return Record(
        name=run.name,
        status=status or run.status_record(),
        settings=settings,
        sources=sources,
        steps=_by_step(events, "step"),
        evaluations=_by_step(events, "evaluation"),
        messages=[str(event.get("text", "")) for event in events if event.get("event") == "message"],
        end=ends[-1] if ends else {},
        total_steps=starts[-1].get("total_steps") if starts else None,
        data=data,
        environment=_flat(_read_json(run.environment_path, {})),
        diagnosis=diagnose(events, data, rows_of_run(run)),
    )


def _read_json(path: Path, absent: Any) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return absent
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected JSON; cannot read it: {error}.") from error


def _settings(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    """Every value that was used where the run says so (resolved.json), else what the recipe says."""
    resolved = _read_json(run.resolved_path, None)
    if resolved is not None:
        return _flat(resolved.get("values", {})), dict(resolved.get("sources", {}))
    try:
        recipe = yaml.safe_load(run.recipe_path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{run.recipe_path}: expected YAML; cannot read it: {error}.") from error
    return _flat(recipe if isinstance(recipe, dict) else {}), {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _by_step(events: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    found = {event["step"]: event for event in events if event.get("event") == kind and "step" in event}
    return [found[step] for step in sorted(found)]


def _points(events: Iterable[Mapping[str, Any]], key: str) -> list[Point]:
    """(step, value) where a finite value was recorded."""
    return [(float(event["step"]), float(event[key])) for event in events if event.get(key) is not None]


def _page(record: Record) -> str:
    sections = [
        _header(record),
        html.facts(_facts(record)),
        diagnosis_section(record),
        curves(record),
        _evaluation_table(record),
        _samples(record),
        settings_table(record),
        data_table(record),
        environment_table(record),
        _notes(record),
    ]
    title = f"{record.name} · Luthier run"
    return html.render_frame(title, sections, "Written by Luthier from the files of this run's folder.")


def _header(record: Record) -> str:
    reason = record.status.reason or record.end.get("reason")
    said = f" Reason: {reason}." if reason else ""
    since = record.status.updated.replace("T", " ").replace("+00:00", " UTC")
    updated = f"Updated {since}." if since else ""
    return html.header(record.name, _word(record.status.status), (updated + said).strip())


def _facts(record: Record) -> list[tuple[str, str, str]]:
    """The headline: name, value, and a note under it."""
    last = record.steps[-1] if record.steps else {}
    best = best_point(record)
    of = f" of {record.total_steps:,}" if record.total_steps else ""
    rates = [float(event["tokens_per_second"]) for event in record.steps if event.get("tokens_per_second")]
    peaks = [int(event["peak_memory_bytes"]) for event in record.steps if event.get("peak_memory_bytes")]
    seconds = record.end.get("seconds") or last.get("seconds")
    supervised = last.get("supervised_tokens")
    facts = [
        ("Model", _model(record.settings), ""),
        ("Method", str(record.settings.get("method.name") or record.settings.get("method") or _NONE), ""),
        ("Steps", f"{last.get('step', 0):,}{of}", f"epoch {last['epoch']:.2f}" if "epoch" in last else ""),
        (
            "Best validation loss",
            f"{best[1]:.4f}" if best else _NONE,
            f"at step {best[0]:,.0f}" if best else "",
        ),
        ("Time", format_seconds(seconds) if seconds else _NONE, ""),
        (
            "Speed",
            f"{median(rates):,.0f} tokens/s" if rates else _NONE,
            "median of the steps" if rates else "",
        ),
        ("Peak memory", format_bytes(max(peaks)) if peaks else _NONE, ""),
        (
            "Tokens",
            f"{last['tokens']:,}" if "tokens" in last else _NONE,
            f"{supervised:,} supervised" if supervised else "",
        ),
    ]
    return facts


def diagnosis_section(record: Record) -> str:
    """The curve's name, why it is called so, and what to try."""
    found = record.diagnosis
    if not record.steps and found.word is Curve.TOO_SHORT:
        return ""
    look: html.Look = (
        "good" if found.word is Curve.HEALTHY else "wait" if found.word is Curve.TOO_SHORT else "bad"
    )
    _, *others = found.lines
    said = "".join(f'<li class="text">{html.text(line)}</li>' for line in others)
    why = f'<p class="text">{html.pill(found.word.value, look)} {html.text(found.why)}.</p>'
    return f"<h2>Diagnosis</h2>{why}<ul>{said}</ul>"


def _model(settings: Mapping[str, Any]) -> str:
    if any(key.startswith("model.new.") and value is not None for key, value in settings.items()):
        return "a new model"
    return str(settings.get("model.name") or settings.get("model") or _NONE)


def best_point(record: Record) -> Point | None:
    """(step, validation loss) of the best evaluation."""
    points = _points(record.evaluations, "validation_loss")
    return min(points, key=lambda point: point[1]) if points else None


def curves(record: Record) -> str:
    """Loss, the task's metrics, learning rate and gradient norm over the steps."""
    if not record.steps and not record.evaluations:
        return '<h2>Curves</h2><p class="empty">No step was recorded yet.</p>'
    raw = _points(record.steps, "loss")
    smoothed = _smoothed(raw)
    steps = (0.0, max(float(event["step"]) for event in [*record.steps, *record.evaluations]) or 1.0)
    validation = _points(record.evaluations, "validation_loss")
    loss = Chart(
        "Loss",
        [
            Line("training, each step", raw, 1, faint=True),
            Line("training, smoothed", smoothed, 1),
            Line("validation", validation, 2, marked=True),
        ],
        y_label="nats per supervised token",
        x_range=steps,
        best=best_point(record),
        best_name="best validation",
    )
    rate = Line("Learning rate", _points(record.steps, "learning_rate"), 3)
    norm = Line("before clipping", _points(record.steps, "grad_norm"), 4)
    pair = draw(Chart("Learning rate", [rate], width=460, height=240, x_range=steps)) + draw(
        Chart("Gradient norm", [norm], width=460, height=240, x_range=steps)
    )
    metrics = "".join(draw(chart) for chart in _metric_charts(record, steps))
    return f'<h2>Curves</h2>{draw(loss)}{metrics}<div class="pair">{pair}</div>'


def _smoothed(raw: Sequence[Point]) -> list[Point]:
    """The mean of the moving averages from both ends: one end's alone would lag behind a falling curve."""
    losses = [loss for _, loss in raw]
    backward = smooth(losses[::-1])[::-1]
    pairs = zip(raw, smooth(losses), backward, strict=True)
    return [(step, (before + after) / 2) for (step, _), before, after in pairs]


def _metric_names(record: Record) -> list[str]:
    return list(dict.fromkeys(name for event in record.evaluations for name in event.get("metrics") or {}))


def _metric_charts(record: Record, steps: tuple[float, float]) -> list[Chart]:
    """Shares (0 to 1) together on one fixed axis, every other metric on its own."""
    lines = {
        name: [(float(e["step"]), float(e["metrics"][name])) for e in record.evaluations if _has(e, name)]
        for name in _metric_names(record)
    }
    shares = [name for name, points in lines.items() if points and all(0 <= y <= 1 for _, y in points)]
    groups = [shares[i : i + _MAX_METRIC_LINES] for i in range(0, len(shares), _MAX_METRIC_LINES)]
    charts = [
        Chart(
            "Task",
            [Line(name, lines[name], index + 1, marked=True) for index, name in enumerate(group)],
            x_range=steps,
            y_range=(0.0, 1.0),
            height=260,
        )
        for group in groups
    ]
    others = [name for name in lines if name not in shares]
    return charts + [
        Chart(f"Task: {name}", [Line(name, lines[name], 1, marked=True)], height=260, x_range=steps)
        for name in others
    ]


def _has(event: Mapping[str, Any], metric: str) -> bool:
    return (event.get("metrics") or {}).get(metric) is not None


def _evaluation_table(record: Record) -> str:
    if not record.evaluations:
        return ""
    names = _metric_names(record)
    rows = []
    for event in record.evaluations:
        values = [event.get("validation_loss"), *((event.get("metrics") or {}).get(name) for name in names)]
        cells = "".join(
            f'<td class="number">{_NONE if v is None else f"{float(v):.4f}"}</td>' for v in values
        )
        rows.append(f'<tr><th scope="row" class="number">{event["step"]:,}</th>{cells}</tr>')
    head = "".join(
        f'<th scope="col" class="number">{html.text(n)}</th>' for n in ("step", "validation loss", *names)
    )
    return f"<h2>Evaluations</h2>{html.table(f'<tr>{head}</tr>', ''.join(rows))}"


def _samples(record: Record) -> str:
    """Per question, what the model answered at each evaluation."""
    asked: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for event in record.evaluations:
        for sample in event.get("samples") or []:
            key = (str(sample.get("question", "")), str(sample.get("expected", "")))
            asked.setdefault(key, []).append((event["step"], sample))
    if not asked:
        return ""
    columns = '<th scope="col">answer</th><th scope="col">verdict</th>'
    head = f'<tr><th scope="col" class="number">step</th>{columns}</tr>'
    empty = '<span class="quiet">(empty)</span>'
    tables = []
    for (question, expected), answers in asked.items():
        rows = "".join(
            f'<tr><th scope="row" class="number">{step:,}</th>'
            f'<td class="text">{html.text(sample.get("answer", "")) or empty}</td>'
            f"<td>{_word(str(sample.get('verdict', '')))}</td></tr>"
            for step, sample in answers
        )
        caption = f'<strong class="text">{html.text(question)}</strong><small>expected: {html.text(expected)}</small>'
        tables.append(html.table(head, rows, caption))
    return f"<h2>Sample answers</h2>{''.join(tables)}"


def settings_table(record: Record) -> str:
    """Every setting with where it came from."""
    rows = []
    for name, value in record.settings.items():
        source = f'<td class="quiet">{html.text(record.sources.get(name, ""))}</td>' if record.sources else ""
        setting = f'<th scope="row"><code>{html.text(name)}</code></th>'
        rows.append(f"<tr>{setting}<td><code>{_value(value)}</code></td>{source}</tr>")
    origin = '<th scope="col">where it came from</th>' if record.sources else ""
    head = f'<tr><th scope="col">setting</th><th scope="col">value</th>{origin}</tr>'
    return f"<h2>Configuration</h2>{html.table(head, ''.join(rows))}" if rows else ""


def data_table(record: Record) -> str:
    """Every file that the run read."""
    if not record.data:
        return ""
    columns = list(dict.fromkeys(key for entry in record.data for key in entry))
    head = "".join(f'<th scope="col">{html.text(column)}</th>' for column in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td><code>{_value(entry.get(column))}</code></td>" for column in columns) + "</tr>"
        for entry in record.data
    )
    return f"<h2>Data</h2>{html.table(f'<tr>{head}</tr>', rows)}"


def environment_table(record: Record) -> str:
    """The machine and the versions."""

    def shown(name: str, value: Any) -> str:
        return html.text(format_bytes(value)) if name.endswith("_bytes") else _value(value)

    rows = "".join(
        f'<tr><th scope="row"><code>{html.text(name)}</code></th><td><code>{shown(name, value)}</code></td></tr>'
        for name, value in record.environment.items()
    )
    head = '<tr><th scope="col">what</th><th scope="col">value</th></tr>'
    return f"<h2>Environment</h2>{html.table(head, rows)}" if rows else ""


def _notes(record: Record) -> str:
    items = "".join(f'<li class="text">{html.text(message)}</li>' for message in record.messages)
    return f"<h2>Messages</h2><ul>{items}</ul>" if items else ""


def _word(word: str | RunStatus) -> str:
    return html.pill(word, "good" if word in _GOOD_WORDS else "bad" if word in _BAD_WORDS else "wait")


def _value(value: Any) -> str:
    """A setting as its recipe would write it."""
    return html.text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
