"""What was measured of a specialist, as sections of its page: results with intervals, the gate's reasons, answers.

Reads the records `evaluation` (`specialist_results`) and `verdict` (the gate's own form), and trusts neither to hold
every key. Knows nothing of where they are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.hashing import short_id
from luthier.page import html
from luthier.page.intervals import Estimate, draw_intervals

_LOOKS: Mapping[str, html.Look] = {
    "met": "good",
    "missed": "bad",
    "passed": "good",
    "failed": "bad",
    "better": "good",
    "worse": "bad",
    "not measured": "quiet",
}
_NUM_COLOURS = 4
_CHOSEN = (
    "Some of the items, chosen by their verdicts alone: first what it won against the first model, then what it lost, "
    "then others. Prompts stand as the last model was shown them."
)
_HOW_TO_MEASURE = "luthier specialists results {ref} BASE.jsonl ITS_OWN.jsonl (answers saved by luthier eval)"


def pair_told(results: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The headline and the note under it: the first result's last pair."""
    pairs = results[0]["comparison"]["pairs"] if results else ()
    if not pairs:
        return "not measured", ""
    pair = pairs[-1]
    interval = f"{_points(pair['interval']['low'])} to {_points(pair['interval']['high'])}"
    return (
        f"{_points(pair['difference'])} points",
        f"{interval} against {pair['first']} on {results[0]['name']}: {pair['verdict']}",
    )


def results_section(ref: str, results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each set of items: every model's accuracy with its interval, the pairs with their verdicts, the notes."""
    if not results:
        yield (
            '<h2>Results</h2><p class="empty">Nothing was measured yet. Keep results on the same items: '
            f"<code>{html.text(_HOW_TO_MEASURE.format(ref=ref))}</code></p>"
        )
    for body in results:
        comparison = body["comparison"]
        role = f" ({body['role']})" if body.get("role") else ""
        items = f"{comparison['num_items']:,} items, {short_id(str(comparison['items_hash']))}"
        notes = "".join(f'<li class="text">{html.text(note)}</li>' for note in comparison["notes"])
        yield (
            f"<h2>Results: {html.text(body['name'])}{html.text(role)}</h2><p>{html.text(items)}</p>"
            f"{_accuracies(comparison)}{_pairs(comparison)}{f'<ul>{notes}</ul>' if notes else ''}"
        )


def _accuracies(comparison: Mapping[str, Any]) -> str:
    entries = comparison["entries"]
    last = len(entries) - 1
    shown = [
        Estimate(
            one["label"],
            one["accuracy"],
            one["interval"]["low"],
            one["interval"]["high"],
            1 if i == last else 2,
        )
        for i, one in enumerate(entries)
    ]
    rows = [(one["label"], *_right(one)) for one in entries]
    chart = draw_intervals("Right answers, with 95% intervals", shown)
    return chart + html.table_of(("model", "right", "accuracy", "from", "to"), rows)


def _right(entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"{entry['num_passed']}/{entry['num_passed'] + entry['num_failed']}"
    for share in (entry["accuracy"], *_ends(entry)):
        yield f"{100 * share:.1f}%"


def _ends(entry: Mapping[str, Any]) -> tuple[float, float]:
    return entry["interval"]["low"], entry["interval"]["high"]


def _pairs(comparison: Mapping[str, Any]) -> str:
    pairs = comparison["pairs"]
    shown = [
        Estimate(
            f"{one['second']} − {one['first']}", one["difference"], *_ends(one), 1 + index % _NUM_COLOURS
        )
        for index, one in enumerate(pairs)
    ]
    lines = "".join(
        f"<li>{html.pill(one['verdict'], _LOOKS.get(one['verdict'], 'wait'))} "
        f'<span class="text">{html.text(one["second"])} against {html.text(one["first"])}: '
        f"{html.text(one['statement'])}</span></li>"
        for one in pairs
    )
    return draw_intervals("Differences, with 95% intervals", shown, signed=True) + f"<ul>{lines}</ul>"


def gate_section(ref: str, verdict: Mapping[str, Any] | None) -> str:
    """The gate's reasons, each with its outcome; that there is no verdict, where there is none."""
    if verdict is None:
        ask = f"luthier gate {ref} --champion NAME --items FILE"
        return (
            f'<h2>Gate</h2><p class="empty">No gate has decided about it: <code>{html.text(ask)}</code></p>'
        )
    word = str(verdict.get("word"))
    sides = [str((verdict.get(side) or {}).get("name") or "") for side in ("candidate", "champion")]
    against = f" for {sides[0]} against {sides[1]}" if all(sides) else ""
    head = f"<h2>Gate</h2><p>The word is <strong>{html.text(word)}</strong>{html.text(against)}.</p>"
    rows = "".join(_reason(one) for one in verdict.get("reasons") or () if isinstance(one, Mapping))
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("criterion", "outcome", "evidence"))
    table = (
        html.table(f"<tr>{columns}</tr>", rows)
        if rows
        else '<p class="empty">The verdict came without reasons.</p>'
    )
    warnings = "".join(f'<li class="text">{html.text(one)}</li>' for one in verdict.get("warnings") or ())
    return head + table + (f"<h3>Warnings</h3><ul>{warnings}</ul>" if warnings else "")


def _reason(one: Mapping[str, Any]) -> str:
    outcome = str(one.get("outcome"))
    asks = f" → {one['asks_for']}" if one.get("asks_for") else ""
    return (
        f'<tr><th scope="row">{html.text(one.get("criterion"))}</th>'
        f"<td>{html.pill(outcome, _LOOKS.get(outcome, 'wait'))}</td>"
        f'<td class="text">{html.text(one.get("text"))}{html.text(asks)}</td></tr>'
    )


def samples_section(ref: str, results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Answers side by side, those that differ in verdict first."""
    shown = [body for body in results if body.get("samples")]
    if not shown:
        yield '<h2>Answers side by side</h2><p class="empty">None were kept: they come with results.</p>'
    for body in shown:
        labels = [entry["label"] for entry in body["comparison"]["entries"]]
        tables = "".join(_sample(one, labels) for one in body["samples"])
        items = f"<summary>{len(body['samples'])} items</summary>"
        yield (
            f"<h2>Answers side by side: {html.text(body['name'])}</h2>"
            f'<p class="quiet">{_CHOSEN}</p><details open>{items}{tables}</details>'
        )


def _sample(one: Mapping[str, Any], labels: Sequence[str]) -> str:
    columns = "".join(f'<th scope="col">{html.text(label)}</th>' for label in labels)
    cells = "".join(
        f'<td class="text">{html.text(answer["text"]) or "(empty)"}<br>'
        f"{html.pill(answer['verdict'], _LOOKS.get(answer['verdict'], 'wait'))}"
        f' <small class="quiet">{html.text(answer["reason"])}</small></td>'
        for answer in one["answers"]
    )
    caption = f'<strong class="text">{html.text(one["prompt"])}</strong><small>{html.text(one["id"])}</small>'
    return html.table(f"<tr>{columns}</tr>", f"<tr>{cells}</tr>", caption)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
