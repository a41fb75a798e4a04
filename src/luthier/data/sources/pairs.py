"""Plain text: each odd line asks, the even line after it answers. Blank lines do not count.

Knows nothing of any other kind of file.
"""

from collections.abc import Iterator

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources.lines import Line, text_lines
from luthier.data.sources.source import OnBytes, Shard, SourceFile


def read_pairs(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """A row with `prompt` and `completion` for every two lines; its number is the line that asks."""
    place = file.place
    asked: Line | None = None
    for line in text_lines(file, on_bytes):
        if line.defect is None and not line.text.strip():
            continue
        if asked is None:
            asked = line
            continue
        bad = next((one for one in (asked, line) if one.defect is not None), None)
        if bad is not None and bad.defect is not None:
            yield UnreadableRow(place, bad.number, bad.defect, f"{place}:{bad.number}: {bad.reason}")
        else:
            value = {"prompt": asked.text.strip(), "completion": line.text.strip()}
            yield Row(place, asked.number, value)
        asked = None
    if asked is not None:
        problem = (
            f"{place}:{asked.number}: the last line asks and none answers; in a file of plain pairs odd lines ask "
            "and even lines answer"
        )
        yield UnreadableRow(place, asked.number, "broken_table", problem)
