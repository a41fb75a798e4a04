"""A chat template learnt from what it renders, and written as a Go template for Ollama.

Jinja is not translated. Marked conversations are rendered, and the fixed texts between the marks are taken: what opens
a conversation without and with a system prompt, what stands between turns, what asks for an answer. The pattern is then
held against the Jinja template on other conversations; where it fails, the template is refused. Ollama's side: its
`.System` is all system messages, `.Messages` the turns
(https://github.com/ollama/ollama/blob/main/docs/template.mdx). Tools are left out: Ollama writes them as Go writes
JSON, which no Jinja template does. Knows nothing of weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luthier.chat.messages import Message
from luthier.errors import ExportError

Render = Callable[[Sequence[Message], bool], str]
"""Messages, and whether an answer is asked for -> text. May raise what a template raises."""

_S, _U, _V, _A = "zqSYSTEMqz", "zqASKEDqz", "zqAGAINqz", "zqANSWERqz"


@dataclass(frozen=True)
class Pattern:
    """The fixed texts. `system_open` and `system_close` are None where the template takes no system prompt."""

    opening: str
    system_open: str | None
    system_close: str
    before_answer: str
    after_answer: str
    closing: str

    def render(self, messages: Sequence[Message]) -> str:
        """What the Go template writes."""
        system = "\n\n".join(message.content for message in messages if message.role == "system")
        parts = [f"{self.system_open}{system}{self.system_close}" if system else self.opening]
        asked = False
        for message in messages:
            if message.role == "user":
                parts += [self.after_answer if asked else "", message.content]
                asked = True
            elif message.role == "assistant":
                parts += [self.before_answer, message.content]
        return "".join([*parts, self.closing if messages[-1].role != "assistant" else ""])

    def go_template(self) -> str:
        """As Go's text/template reads it: every fixed text is a quoted string, so that no white space is trimmed."""
        opening = _quoted(self.opening)
        if self.system_open is not None:
            told = f"{_quoted(self.system_open)}{{{{ .System }}}}{_quoted(self.system_close)}"
            opening = f"{{{{ if .System }}}}{told}{{{{ else }}}}{opening}{{{{ end }}}}"
        user = f"{{{{ if $asked }}}}{_quoted(self.after_answer)}{{{{ end }}}}{{{{ .Content }}}}{{{{ $asked = true }}}}"
        answer = f"{_quoted(self.before_answer)}{{{{ .Content }}}}"
        turn = (
            f'{{{{ if eq .Role "user" }}}}{user}{{{{ else if eq .Role "assistant" }}}}{answer}{{{{ end }}}}'
        )
        turns = f"{{{{ range .Messages }}}}{{{{ $last = .Role }}}}{turn}{{{{ end }}}}"
        closing = f'{{{{ if ne $last "assistant" }}}}{_quoted(self.closing)}{{{{ end }}}}'
        return f'{opening}{{{{ $asked := false }}}}{{{{ $last := "" }}}}{turns}{closing}'


def learn_pattern(render: Render, bos: str = "") -> Pattern:
    """The pattern of a template, without `bos` at its start where the runtime adds that one itself.

    Raises ExportError where fixed texts between turns cannot express the template.
    """
    asked, again, answer = Message("user", _U), Message("user", _V), Message("assistant", _A)
    told = Message("system", _S)
    opening, closing = _cut(render([asked], True), _U)
    whole = render([asked, answer, again], True)
    start, between = _cut(whole, _U)
    before_answer, between = _cut(between, _A)
    after_answer, end = _cut(between, _V)
    if (start, end) != (opening, closing):
        raise ExportError(f"{_CANNOT}: it opens or closes a longer conversation otherwise than a short one")
    system_open = system_close = None
    try:
        text = render([told, asked], True)
        if _S in text:
            system_open, rest = _cut(text, _S)
            system_close, _ = _cut(rest, _U)
    except ExportError:
        raise
    except Exception:  # a template says in its own way that it takes no system prompt
        system_open = None
    if bos:
        opening = opening.removeprefix(bos)
        system_open = None if system_open is None else system_open.removeprefix(bos)
    pattern = Pattern(opening, system_open, system_close or "", before_answer, after_answer, closing)
    _hold(pattern, render, bos)
    return pattern


_CANNOT = "this chat template cannot be written for Ollama"


def _cut(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found or mark in after:
        raise ExportError(f"{_CANNOT}: it does not show every turn once, where it was said")
    return before, after


def conversations(with_system: bool) -> list[list[Message]]:
    """What the pattern is held against: lengths, system prompts, Unicode, braces, emptiness, a begun answer."""

    def turns(*texts: str) -> list[Message]:
        roles = ("user", "assistant")
        return [Message(roles[place % 2], text) for place, text in enumerate(texts)]  # type: ignore[arg-type]

    plain = [
        turns("Hello!"),
        turns("One?", "1.", "Two?"),
        turns("a", "b", "c", "d", "e"),
        turns(
            "„Grüße“ 日本語 👩‍🚀 e\u0301", "ﷺ", '{{ .System }} {% if x %} \\n "quoted" `ticks` <b>&amp;</b>'
        ),
        turns("def f(x):\n\n    return x", "```python\npass\n```", "1 < 2 && 3 > 2"),
    ]
    if not with_system:
        return plain
    systems = ["Be brief.", "Rule 1: {x}\nRule 2: \"say\" 'so'\n\nEnd", "日本語で答える 🙂"]
    return plain + [[Message("system", text), *rest] for text in systems for rest in plain]


def _hold(pattern: Pattern, render: Render, bos: str) -> None:
    for messages in conversations(pattern.system_open is not None):
        want, have = render(messages, True).removeprefix(bos), pattern.render(messages)
        if want != have:
            at = next(
                (i for i, (a, b) in enumerate(zip(want, have, strict=False)) if a != b),
                min(len(want), len(have)),
            )
            near = slice(max(0, at - 20), at + 30)
            raise ExportError(
                f"{_CANNOT}: after {messages[-1].content!r:.40} it writes {want[near]!r}, and fixed texts between "
                f"turns give {have[near]!r}. Take --to gguf, which keeps the Jinja template"
            )


def _quoted(text: str) -> str:
    """A template action that writes this text, in printable ASCII."""
    if not text:
        return ""
    plain = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return '{{ "' + "".join(plain.get(char) or _ascii(char) for char in text) + '" }}'


def _ascii(char: str) -> str:
    code = ord(char)
    return char if 0x20 <= code < 0x7F else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
