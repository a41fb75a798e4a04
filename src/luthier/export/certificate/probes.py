"""What every form is asked: a built-in matrix of conversations, and rows of the specialist's own test set.

The matrix holds what goes wrong when a model moves: with and without a system prompt, several turns, Unicode, tools,
control strings that a user quotes, emptiness, white space at the edges. Knows nothing of models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.chat.messages import Conversation, Message, ToolCall
from luthier.chat.render import Renderer
from luthier.errors import DataError, TemplateError

CONTROL_STRINGS = "control strings in content"
_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A conversation that waits for an answer. `kind` says what it is there for."""

    kind: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def conversation(self) -> Conversation:
        return Conversation(self.messages, self.tools)

    @property
    def question(self) -> str:
        """Its last turn, short."""
        return f"{self.messages[-1].content!r:.80}"


def built_in(renderer: Renderer, system: str | None = None) -> tuple[list[Probe], list[str]]:
    """The probes that this template can show, and the kinds that it cannot. `system`: the specialist's own prompt."""
    found, refused = [], []
    for probe in _matrix(renderer, system or "You are a careful assistant."):
        try:
            renderer.prompt(probe.messages, probe.tools)
        except (TemplateError, DataError):
            refused.append(probe.kind)
        else:
            found.append(probe)
    return found, refused


def from_rows(rows: Sequence[Sequence[Message]], kind: str = "test set") -> list[Probe]:
    """Probes of conversations; answers at their ends are left out."""
    found = []
    for row in rows:
        turns = list(row)
        while turns and turns[-1].role == "assistant":
            turns.pop()
        if turns:
            found.append(Probe(kind, tuple(turns)))
    return found


def _matrix(renderer: Renderer, system: str) -> list[Probe]:
    told, named = Message("system", system), " ".join(renderer.control_strings[:4])
    call = Message("assistant", "", tool_calls=(ToolCall("lookup", {"word": "quince"}, "call00001"),))
    return [
        Probe("no system", (_user("Hello!"),)),
        Probe("no system", (_user("What is 2 plus 3?"),)),
        Probe("no system", (_user("Name three animals."),)),
        Probe("system", (told, _user("Who are you?"))),
        Probe("system", (told, _user("Write a short sentence about the sea."))),
        Probe(
            "several turns",
            (_user("What is the capital of France?"), Message("assistant", "Paris."), _user("And of Italy?")),
        ),
        Probe(
            "several turns with system",
            (
                told,
                _user("Count."),
                Message("assistant", "One."),
                _user("Go on."),
                Message("assistant", "Two."),
                _user("On!"),
            ),
        ),
        Probe("unicode", (_user("Wie heißt „Sprache“ auf 日本語? 👩‍🚀 é e\u0301 \u00a0 ﷽"),)),
        Probe("code and line breaks", (_user("def f(x):\n\n\treturn {'a': x}  # done\n\n```\n1 < 2\n```"),)),
        Probe("tools", (_user("What is a quince?"),), (_TOOL,)),
        Probe(
            "tool call",
            (
                _user("What is a quince?"),
                call,
                Message("tool", "A fruit.", tool_call_id="call00001", name="lookup"),
            ),
            (_TOOL,),
        ),
        Probe(CONTROL_STRINGS, (_user(f"What do {named} mean?"),)),
        Probe("empty", (_user(""),)),
        Probe("white space at the edges", (_user("  Hello  \n"),)),
    ]


def _user(text: str) -> Message:
    return Message("user", text)
