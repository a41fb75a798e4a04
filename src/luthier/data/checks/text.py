"""Does the text hold what was meant to be filled in?

Looks at the words of every turn; knows nothing of how rows relate to each other.
"""

import re
from collections import Counter
from collections.abc import Iterable

from luthier.data.checks.finding import CheckedData, CheckedRow, Finding, finding

_PLACEHOLDER = re.compile(
    r"\{\{\s*[A-Za-z_][\w .-]{0,40}\}\}"  # {{name}}
    r"|\[(?:INSERT|YOUR|ENTER|FILL IN)\b[^\]\n]{0,60}\]"  # [INSERT NAME], [Your name]
    r"|<(?:your|insert|enter)[ _-][^<>\n]{1,60}>",  # <your name>
    re.IGNORECASE,
)


def check_placeholders(data: CheckedData) -> Iterable[Finding]:
    """Rows with a placeholder that nobody filled."""
    for _, rows in data.splits():
        names: Counter[str] = Counter()
        found = []
        for row in rows:
            held = {match.group() for text in _texts(row) for match in _PLACEHOLDER.finditer(text)}
            names.update(held)
            if held:
                found.append(row)
        if found:
            listed = ", ".join(f"{name} ({count})" for name, count in names.most_common(5))
            yield finding(
                "unfilled_placeholders",
                "warning",
                found,
                rows,
                f"{len(found)} of {len(rows)} rows hold a placeholder that was never filled: {listed}",
                "The model would learn to say them. Fill them in, or remove the rows. If the task is to "
                "write templates, leave them.",
            )


def _texts(row: CheckedRow) -> list[str]:
    if row.conversation is None:
        text = row.value.get("text")
        return [text] if isinstance(text, str) else []
    return [part for m in row.conversation.messages for part in (m.content, m.reasoning or "")]
