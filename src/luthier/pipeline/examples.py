"""What training files hold that a prompt can show: conversations as examples, documents to look things up in.

Knows nothing of how either is used.
"""

from collections.abc import Iterable

from luthier.chat.messages import Conversation
from luthier.data.formats import read_example, recognise_file
from luthier.data.places import resolve_place
from luthier.data.sources import read_rows


def read_examples(places: Iterable[str]) -> tuple[list[Conversation], list[str]]:
    """(conversations, texts of documents) of training files; preferences and the like are passed over.

    Raises DataError where a file is not there or a row cannot be read.
    """
    conversations: list[Conversation] = []
    documents: list[str] = []
    for place in places:
        for path in resolve_place(place, "train"):
            rows = list(read_rows(path))
            found = recognise_file(row.value for row in rows)
            for row in rows:
                value = found.rename(row.value)
                _, example = read_example(value, where=row.where, format=found.of(value))
                if example.kind == "text":
                    documents.append(example.text or "")
                elif example.kind not in ("preference", "feedback"):
                    conversations.append(example.conversation)
    return conversations, documents
