"""What the rows of some files ask: the last turn before the answer, whatever the format. Knows nothing of answers."""

from luthier.data.example import Example
from luthier.data.formats import read_example, recognise_file
from luthier.data.places import resolve_place
from luthier.data.sources import read_rows
from luthier.errors import DataError


def read_questions(place: str) -> list[str]:
    """The questions of a file, a folder or a dataset version, in their order; rows that ask nothing are passed over.

    Raises DataError with file and line where a row cannot be read, or where no row asks anything.
    """
    found = []
    for path in resolve_place(place, "train"):
        rows = list(read_rows(path))
        format = recognise_file(row.value for row in rows)
        for row in rows:
            _, example = read_example(format.rename(row.value), where=row.where, format=format.of(row.value))
            if question := _asked(example):
                found.append(question)
    if not found:
        raise DataError(f"{place}: expected rows that ask something; none does")
    return found


def _asked(example: Example) -> str:
    turns = [
        turn.content for turn in example.conversation.messages if turn.role == "user" and turn.content.strip()
    ]
    return turns[-1] if turns else (example.text or "").strip()
