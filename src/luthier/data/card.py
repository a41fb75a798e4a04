"""The data card of a version: what it holds, what the check said, and what its maker stated, as a page of Markdown.

Everything on it stands in the manifest or in the check report; what nobody stated is called "not stated".
Knows nothing of files.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from luthier.hashing import short_id
from luthier.registry.dataset_refs import PREFIX

_NOT_STATED = "not stated"
_MAX_FIGURES = 40
_MAX_LIST = 8
_FIRST_FIGURES = ("languages", "characters", "tokens", "classes")
_USED_AS = {"train": "--data", "valid": "--valid"}


def write_card(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The card of a version, from its manifest and the `to_dict()` of its check report."""
    ref = f"{manifest['name']}@{short_id(manifest['id'])}"
    sections = [
        f"# Dataset {ref}",
        _plain(manifest["message"]),
        _facts(manifest),
        "## Files",
        _files(manifest["splits"]),
        "## What the check said",
        _findings(report),
        *_figures(report.get("figures", {})),
        _images(manifest.get("images_not_kept", 0)),
        "## How it was made",
        _made_by(manifest.get("made_by", [])),
        "## To use it",
        f"```sh\n{_usage(ref, manifest['splits'])}\n```",
        "The id is a hash of the files: the same bytes have the same id on any machine.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _facts(manifest: Mapping[str, Any]) -> str:
    parents = ", ".join(short_id(parent) for parent in manifest["parents"])
    rows = manifest["totals"]["rows"]
    formats = dict.fromkeys(one["format"] for files in manifest["splits"].values() for one in files)
    facts = {
        "id": f"`{manifest['id']}`",
        "created": manifest["created"][:19].replace("T", " ") + " UTC",
        "parent": parents or "none",
        "rows": ", ".join(f"{count:,} {split}" for split, count in rows.items()),
        "format": _plain(", ".join(formats)),
        "licence": _plain(manifest["licence"]) or _NOT_STATED,
        "source": _plain(manifest["source"]) or _NOT_STATED,
    }
    return _table(("", ""), facts.items())


def _files(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    columns = ("split", "file", "rows", "distinct", "format", "bytes", "sha256")
    rows = (
        (
            split,
            f"`{_plain(one['name'])}`",
            f"{one['rows']:,}",
            f"{one['distinct_rows']:,}",
            _plain(one["format"]),
            f"{one['bytes']:,}",
            f"`{short_id(one['sha256'])}`",
        )
        for split, files in splits.items()
        for one in files
    )
    return _table(columns, rows)


def _findings(report: Mapping[str, Any]) -> str:
    if not report["findings"]:
        return "Clean: no check had anything to say."
    columns = ("severity", "split", "finding", "what was found")
    rows = (
        (one["severity"], one["split"], f"`{one['name']}`", _plain(one["message"]))
        for one in report["findings"]
    )
    return _table(columns, rows) + "\n\nRows, examples and advice stand in `check.json`."


def _figures(figures: Mapping[str, Any]) -> Iterator[str]:
    order = [
        *(key for key in _FIRST_FIGURES if key in figures),
        *(key for key in figures if key not in _FIRST_FIGURES),
    ]
    listed = list(_flat({key: figures[key] for key in order}))
    if listed:
        more = len(listed) - _MAX_FIGURES
        yield "## Figures"
        yield _table(("what", "figures"), listed[:_MAX_FIGURES])
        yield "Histograms and lists" + (f", and {more} more," if more > 0 else "") + " stand in `check.json`."


def _images(count: int) -> str:
    if not count:
        return ""
    return (
        f"The rows name {count:,} images, which are not part of the version: their paths count from the folder that "
        "the files were committed from."
    )


def _flat(value: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, the plain values under it) for each mapping inside; histograms and long lists are left out."""
    plain = {key: one for key, one in value.items() if one is not None and _is_short(one)}
    if plain:
        yield _plain(name), ", ".join(f"{_plain(str(key))} {_figure(one)}" for key, one in plain.items())
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _is_short(value: Any) -> bool:
    if isinstance(value, list):
        return 0 < len(value) <= _MAX_LIST and not any(isinstance(one, Mapping | list) for one in value)
    return not isinstance(value, Mapping)


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(_figure(one) for one in value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _plain(str(value))


def _made_by(made_by: Sequence[Mapping[str, Any]]) -> str:
    if not made_by:
        return "Not stated: no record of `luthier data mix`, `split` or `fix` lay beside the files."
    lines = []
    for one in made_by:
        changed = "" if one.get("of_these_bytes", True) else "; it was written for other bytes than these"
        lines.append(f"- {one['how']}: `{_plain(one['file'])}` (sha256 `{short_id(one['sha256'])}`){changed}")
        lines += [
            f"  - {name + ': ' if name else ''}{value}"
            for name, value in list(_flat(one["summary"]))[:_MAX_FIGURES]
        ]
    return "\n".join(lines)


def _usage(ref: str, splits: Iterable[str]) -> str:
    known = [f"{_USED_AS[split]} {PREFIX}{ref}" for split in splits if split in _USED_AS]
    used = "luthier train " + " ".join(known) + "\n" if any(one.startswith("--data") for one in known) else ""
    return f"{used}luthier data verify {ref}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """A text in one line that is no markup of a table."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
