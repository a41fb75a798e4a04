"""The certificate as a page for people: one table per form, the word in front, the cause beside it.

Knows nothing of how anything was measured.
"""

from luthier.export.certificate.verdict import Certificate, FormVerdict, Word
from luthier.page.html import Look, facts, header, pairs, pill, render_frame, table, text, value

_LOOKS: dict[Word, Look] = {
    "identical": "good",
    "equal within tolerance": "good",
    "different": "bad",
    "not run": "quiet",
}


def render_page(certificate: Certificate) -> str:
    """The whole page."""
    word = certificate.word
    headline = certificate.describe()
    if certificate.accepted is not None and word == "different":
        headline += f". Let go all the same: {certificate.accepted}"
    named = [
        ("forms", str(len(certificate.forms)), "checked against the trained model"),
        ("probes", str(certificate.num_probes), "conversations, each asked of every form"),
    ]
    notes = "".join(f"<li>{text(note)}</li>" for note in certificate.notes)
    identity = pairs(certificate.identity.items(), "What was certified") if certificate.identity else ""
    sections = [
        header(f"Certificate of {certificate.model}", pill(word, _LOOKS[word]), headline),
        facts(named),
        *(_form(form) for form in certificate.forms),
        f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else "",
        identity,
    ]
    footer = (
        "Greedy answers on these probes; nothing is said of other prompts, of sampling or of other runtimes."
    )
    return render_frame(f"Certificate of {certificate.model}", sections, footer)


def _form(form: FormVerdict) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(line.what)}</th><td>{pill(line.said, _LOOKS[line.word])}</td>'
        f"<td>{text(line.detail)}</td></tr>"
        for line in form.lines
    )
    head = '<tr><th scope="col">compared</th><th scope="col">word</th><th scope="col">found</th></tr>'
    files = "".join(f"<li>{value(name)} <code>{text(one)}</code></li>" for name, one in form.files.items())
    listed = f"<details><summary>Files that were tested</summary><ul>{files}</ul></details>" if files else ""
    title = f"{text(form.form)} {pill(form.said, _LOOKS[form.word])}"
    return f"<section><h2>{title}</h2>{table(head, rows)}{listed}</section>"
