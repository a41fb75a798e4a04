"""The pieces of a page: its frame, escaped text, tables, headline facts, words in a coloured pill.

Whatever comes in as text may be hostile: it leaves as text. Arguments called `..._html` are markup already.
Knows nothing of what the page is about.
"""

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any, Literal
from unicodedata import category

Look = Literal["good", "bad", "wait", "quiet"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_frame(title: str, sections_html: Iterable[str], footer: str, *, more_css: str = "") -> str:
    """A whole page, light or dark as the reader's system is. Empty sections are left out."""
    css = resources.files("luthier.page").joinpath("style.css").read_text(encoding="utf-8") + more_css
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n'
        f"<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections_html if section)
        + f"\n<footer>{text(footer)}</footer>\n</main>\n</body>\n</html>\n"
    )


def header(title: str, pill_html: str, headline: str) -> str:
    """The head of a page: what it is about, its word, and a line under it."""
    return (
        f'<header><div class="title"><h1>{text(title)}</h1>{pill_html}</div>'
        f'<p class="headline">{text(headline)}</p></header>'
    )


def facts(named: Iterable[tuple[str, str, str]]) -> str:
    """Headline facts side by side: (name, value, a note under it)."""
    cells = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)} <small>{text(note)}</small></dd></div>"
        for name, value, note in named
    )
    return f'<dl class="facts">{cells}</dl>'


def table(head_html: str, rows_html: str, caption_html: str = "") -> str:
    """A table that scrolls sideways on a narrow screen."""
    title = f"<caption>{caption_html}</caption>" if caption_html else ""
    return (
        f'<div class="table"><table>{title}<thead>{head_html}</thead><tbody>{rows_html}</tbody></table></div>'
    )


def table_of(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table of values; the first column names the row, numbers stand right."""
    body = [tuple(row) for row in rows]
    numeric = [
        bool(body) and all(isinstance(row[i], int | float) or row[i] is None for row in body)
        for i in range(len(columns))
    ]
    look = [' class="number"' if one else "" for one in numeric]
    head = "".join(f'<th scope="col"{look[i]}>{text(name)}</th>' for i, name in enumerate(columns))
    lines = []
    for row in body:
        first = f'<th scope="row"{look[0]}>{value(row[0])}</th>'
        cells = "".join(f"<td{look[i]}>{value(row[i])}</td>" for i in range(1, len(columns)))
        lines.append(f"<tr>{first}{cells}</tr>")
    return table(f"<tr>{head}</tr>", "".join(lines), text(caption))


def pairs(named: Iterable[tuple[str, Any]], title: str = "") -> str:
    """A line of names and values, for a few that need no table."""
    said = " <span>·</span> ".join(f"<span>{text(name)}</span> <b>{value(one)}</b>" for name, one in named)
    head = f"<strong>{text(title)}</strong>" if title else ""
    return f'<p class="pairs">{head}{said}</p>'


def pill(word: str, look: Look = "wait") -> str:
    """A word that is an outcome, coloured."""
    return f'<span class="word {look}">{text(word)}</span>'


def value(one: Any) -> str:
    """A value of a table as people write it: 12,000; 0.25; a dash for nothing; other values as JSON."""
    if one is None:
        return "—"
    if isinstance(one, bool) or not isinstance(one, int | float | str):
        return text(json.dumps(one, ensure_ascii=False))
    if isinstance(one, float):
        return text(f"{one:,.0f}" if abs(one) >= 1000 else f"{one:.4g}")
    return text(f"{one:,}" if isinstance(one, int) else one)


def text(one: object) -> str:
    """Any text as HTML: nothing in it is markup, no control character, no lone surrogate."""
    return escape(printable(str(one)))


def printable(one: str, encoding: str = "utf-8") -> str:
    """The text without control characters and lone surrogates, and without what the encoding cannot hold."""
    shown = "".join(
        char if char in "\n\t" or category(char) not in ("Cc", "Cs") else "\ufffd" for char in one
    )
    return shown.encode(encoding, "replace").decode(encoding)
