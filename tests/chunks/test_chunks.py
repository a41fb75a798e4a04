"""Documents in pieces: nothing is lost, lines are right, headings stand above, what is no text is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.chunks import ChunkSizes, chunk_file, chunk_text
from luthier.errors import ConfigError, DataError

GUIDE = """# Field

The field is 68 metres wide. It is 112 to 122 metres long.
Dr. Smith measured it.

## Posts

Posts stand 5.5 metres apart.

```sh
# no heading
```

# Ball
A ball weighs 410 grams.
"""


def test_sections_keep_their_headings_and_lines() -> None:
    chunks = chunk_text(GUIDE, ".md")
    assert [(one.heading, one.first_line, one.last_line) for one in chunks] == [
        ("Field", 3, 4),
        ("Field > Posts", 8, 12),
        ("Ball", 15, 15),
    ]
    assert "# no heading" in chunks[1].text and chunks[2].text == "A ball weighs 410 grams."


def test_sentences_are_whole_and_overlap() -> None:
    chunks = chunk_text(GUIDE, ".md", ChunkSizes(12, 5))
    assert [one.text for one in chunks[:2]] == [
        "The field is 68 metres wide.",
        "It is 112 to 122 metres long. Dr. Smith measured it.",
    ]
    assert chunks[1].first_line == 3 and chunks[1].last_line == 4
    again = chunk_text("One two three. Four five. Six seven eight.", sizes=ChunkSizes(5, 2))
    assert [one.text for one in again] == ["One two three. Four five.", "Four five. Six seven eight."]


def test_html_keeps_what_a_reader_sees() -> None:
    page = """<html><head><title>No</title><style>p {}</style></head><body>
<h1>The <em>field</em></h1><p>It is <b>68</b> metres
wide &amp; flat.</p>
<script>var no = 1;</script><ul><li>first</li><li>second</li></ul><h2>Posts</h2>Two.</body></html>"""
    chunks = chunk_text(page, ".html")
    assert [(one.heading, one.text, one.first_line, one.last_line) for one in chunks] == [
        ("The field", "It is 68 metres\nwide & flat.\n\nfirst\n\nsecond", 2, 4),
        ("The field > Posts", "Two.", 4, 4),
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab .\n!A1"), max_size=200), st.integers(1, 9), st.data())
def test_every_word_is_in_a_piece_of_the_right_size_and_lines(
    text: str, max_words: int, data: st.DataObject
) -> None:
    sizes = ChunkSizes(max_words, data.draw(st.integers(0, max_words - 1)))
    chunks = chunk_text(text, sizes=sizes)
    lines = text.splitlines()
    for chunk in chunks:
        assert len(chunk.text.split()) <= max_words
        there = " ".join(lines[chunk.first_line - 1 : chunk.last_line]).split()
        assert all(word in there for word in chunk.text.split())
    bare = chunk_text(text, sizes=ChunkSizes(max_words, 0))
    assert [word for one in bare for word in one.text.split()] == text.split()


def test_what_is_no_text_document_is_refused(tmp_path: Path) -> None:
    for name, data, said in (
        ("a.pdf", b"%PDF-1.7", "pdftotext"),
        ("b.txt", b"\xff\xfe\x00", "expected UTF-8 text, found something else at byte 0"),
        ("c.txt", b" \n", "found none"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=said):
            chunk_file(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        chunk_file(tmp_path / "nothing.txt")
    with pytest.raises(ConfigError, match="got 5 and 5"):
        ChunkSizes(5, 5)
