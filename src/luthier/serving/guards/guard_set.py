"""All guards of a policy, asked about a request and about its answer: one verdict, with reasons.

Knows nothing of what single guards look for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from luthier.chat.messages import Message
from luthier.serving.guards.guard import SEVERITY, Action, Guard, Hit, Seen, Side

REFUSAL = "I cannot help with that."


@dataclass(frozen=True)
class GuardVerdict:
    """The severest action, and why. Reasons never quote what is private.

    messages: of a request, with what was redacted; text: of an answer alike. Where it is refused, `text` is what is
    said instead, on both sides.
    """

    action: Action
    reasons: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    text: str = ""


_Found = tuple[Guard, Hit]


@dataclass(frozen=True)
class GuardSet:
    """Guards in the order in which they look; after one that refuses no other does."""

    guards: tuple[Guard, ...]
    refusal: str = REFUSAL

    @property
    def holds_answers(self) -> bool:
        """Whether an answer has to be whole before any of it is shown, since a guard may redact or refuse it."""
        return any(SEVERITY[guard.output] > SEVERITY[Action.FLAG] for guard in self.guards)

    def check_input(self, messages: Sequence[Message]) -> GuardVerdict:
        """The verdict on a request. What the assistant is quoted with is not looked at: it was when it was said."""
        asked, kept, found = tuple(messages), list(messages), []
        for number, turn in enumerate(asked):
            if turn.role == "assistant":
                continue
            seen = Seen(turn.content, turn.role, "input", number == len(asked) - 1, asked)
            here = list(self._hits(seen))
            kept[number] = replace(turn, content=_redacted(turn.content, here, "input"))
            found += [(guard, hit, f" (turn {number + 1}, {turn.role})") for guard, hit in here]
        action, reasons = _told(found, "input")
        return GuardVerdict(action, reasons, tuple(kept), self.refusal if action is Action.REFUSE else "")

    def check_output(
        self, text: str, messages: Sequence[Message] = (), context: str | None = None
    ) -> GuardVerdict:
        """The verdict on an answer. `context`: what it has to rest on."""
        seen = Seen(text, "assistant", "output", True, tuple(messages), context)
        here = list(self._hits(seen))
        action, reasons = _told([(guard, hit, "") for guard, hit in here], "output")
        shown = self.refusal if action is Action.REFUSE else _redacted(text, here, "output")
        return GuardVerdict(action, reasons, tuple(messages), shown)

    def _hits(self, seen: Seen) -> Iterator[_Found]:
        for guard in self.guards:
            if guard.action(seen.side) is Action.ALLOW:
                continue
            hit = None
            for hit in guard.look(seen):
                yield guard, hit
            if hit is not None and guard.action(seen.side) is Action.REFUSE:
                return


def _told(found: Sequence[tuple[Guard, Hit, str]], side: Side) -> tuple[Action, tuple[str, ...]]:
    """The severest action, and a reason for each kind of hit."""
    action = max(
        (guard.action(side) for guard, _, _ in found), key=SEVERITY.__getitem__, default=Action.ALLOW
    )
    reasons = dict.fromkeys(f"{guard.name}: {hit.what}{where}" for guard, hit, where in found)
    return action, tuple(reasons)


def _redacted(text: str, found: Sequence[_Found], side: Side) -> str:
    """The text with a word in square brackets for each hit that is to be redacted; of two that overlap, the longer."""
    spans = [
        (hit.start, hit.end, hit.what)
        for guard, hit in found
        if guard.action(side) is Action.REDACT and hit.start is not None and hit.end is not None
    ]
    parts, end = [], 0
    for start, last, what in sorted(spans, key=lambda span: (span[0], -span[1])):
        if last <= end:
            continue
        if start >= end:
            parts += [text[end:start], f"[{what}]"]
        end = last
    return "".join(parts) + text[end:]
