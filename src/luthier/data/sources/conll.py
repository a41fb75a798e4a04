"""CoNLL: a token and its tag a line, a blank line between sentences.

Where a line has more columns, the first is the token and the last the tag.
Knows nothing of what the tags mean.
"""

from collections.abc import Iterator

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources.lines import Line, text_lines
from luthier.data.sources.source import OnBytes, Shard, SourceFile

_MAX_TOKENS = 100_000  # a "sentence" beyond it is a file without blank lines, which must not fill the memory


def read_conll(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """A row with `tokens` and `tags` for every sentence; its number is the line where the sentence begins."""
    sentence: list[Line] = []
    for line in text_lines(file, on_bytes):
        if line.defect is None and not line.text.strip():
            if sentence:
                yield _row(file.place, sentence)
            sentence = []
        elif line.defect is not None or not line.text.startswith("-DOCSTART-"):
            sentence.append(line)
            if len(sentence) >= _MAX_TOKENS:
                yield _row(file.place, sentence)
                sentence = []
    if sentence:
        yield _row(file.place, sentence)


def _row(place: str, sentence: list[Line]) -> Row | UnreadableRow:
    tokens: list[str] = []
    tags: list[str] = []
    for line in sentence:
        where = f"{place}:{line.number}"
        if line.defect is not None:
            return UnreadableRow(place, line.number, line.defect, f"{where}: {line.reason}")
        text = line.text.strip("\r\n")
        cells = text.split("\t") if "\t" in text else text.split()
        if len(cells) < 2:
            problem = f"{where}: expected a token and its tag, got one column: {text.strip()[:60]!r}"
            return UnreadableRow(place, line.number, "broken_table", problem)
        tokens.append(cells[0])
        tags.append(cells[-1].strip())
    return Row(place, sentence[0].number, {"tokens": tokens, "tags": tags})
