"""What counts a row's tokens as a model would see them, and what verbs of this group show alike.

Knows nothing of what the counts are for; everything heavy is imported when it is asked for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.data.example import Example


def token_counter(model: str) -> "Callable[[Example], int]":
    """The tokens of a row under the model's template; a conversation that becomes several rows counts them all."""
    from luthier.chat.messages import Conversation
    from luthier.chat.render import Renderer
    from luthier.cli.common import model_ref, quiet_libraries
    from luthier.models.load import find_model, load_tokenizer

    quiet_libraries()
    renderer = Renderer(load_tokenizer(find_model(model_ref(model)).tokenizer_place))

    def count(example: "Example") -> int:
        if example.kind == "text":
            ids: list[int] = renderer.tokenizer(example.text, add_special_tokens=False)["input_ids"]
            return len(ids)
        conversation = Conversation(example.messages, example.conversation.tools)
        return sum(len(rendering.token_ids) for rendering in renderer.render(conversation))

    return count


def plain_table(**columns: Any) -> "Table":
    """A table without lines; a column is named and `right` or `left`."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, justify in columns.items():
        table.add_column(name.replace("_", " "), justify=justify)
    return table
