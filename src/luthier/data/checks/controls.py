"""Do texts hold strings that steer a model: turn markers and ends of text, as chat templates write them?

They come from exports of text that was already templated, and end or begin turns wherever a program takes them for
tokens. Knows the common templates, and with a model its own tokens; knows nothing of how rows relate to each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, SplitName, rows_word
from luthier.data.checks.row import CheckedRow

if TYPE_CHECKING:
    from luthier.chat.render import Renderer

# One pattern a sign, by a character that few texts hold. Each begins with its sign as a literal, which `re` finds at
# the speed of a memory search.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "<|",
        re.compile(
            r"<\|(?:im_(?:start|end|sep)|endoftext|end_of_text|begin_of_text|eo[tm]_id|start_header_id|end_header_id"
            r"|end|user|assistant|system|endofprompt|python_tag|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN"
            r"|start_of_role|end_of_role)\|>"
        ),
    ),
    ("<｜", re.compile(r"<｜(?:begin▁of▁sentence|end▁of▁sentence|User|Assistant)｜>")),
    ("INST]", re.compile(r"INST\](?<=\[INST\])|INST\](?<=\[/INST\])")),
    ("<<SYS>>", re.compile(r"<<SYS>>")),
    ("<start_of_turn>", re.compile(r"<start_of_turn>")),
    ("<end_of_turn>", re.compile(r"<end_of_turn>")),
    # Elsewhere <s> is how HTML strikes words out.
    ("<s>", re.compile(r"<s>(?<=\A<s>)|<s>(?=\s{0,4}\[INST\])")),
    ("</s>", re.compile(r"</s>(?=\s{0,4}\Z)")),
    ("<eos>", re.compile(r"<eos>")),
    ("<bos>", re.compile(r"<bos>")),
    ("### ", re.compile(r"### (?:Response|Instruction|Assistant|Human): {0,4}(?=\n|\Z)")),
)
_NAMES = {"INST]": "[INST]"}
_BY_CHARACTER = {char: [one for one in _PATTERNS if char in one[0]] for char in ("<", "]", "#")}
_SHORTEST_OWN = 3  # a model's own control token of one or two characters is ordinary text everywhere else
_MAX_NAMES = 5


class ControlStrings(Check):
    """Rows whose texts hold control strings of chat templates."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.names: dict[SplitName, Counter[str]] = {split: Counter() for split in SPLITS}
        self.own: re.Pattern[str] | None = None
        self.is_opened = context.open_renderer is None

    def see(self, row: CheckedRow) -> None:
        if not self.is_opened and self.context.open_renderer is not None:
            self.own, self.is_opened = _own_controls(self.context.open_renderer), True
        held = {name for text in row.texts() for name in self._find(text)}
        if held:
            self.tallies[row.split, "controls"].add(row)
            self.names[row.split].update(held)

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split, names in later.names.items():
            self.names[split].update(names)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            if (split, "controls") in self.tallies:
                tally = self.tallies[split, "controls"]
                most = sorted(self.names[split].items(), key=lambda item: (-item[1], item[0]))[:_MAX_NAMES]
                listed = ", ".join(f"{name} ({count:,})" for name, count in most)
                yield tally.finding(
                    "control_strings",
                    "warning",
                    split,
                    totals,
                    f"{tally.count:,} of {rows_word(totals.rows[split])} hold control strings of a chat template: "
                    f"{listed}",
                    "The template adds these by itself. Keep the turns as messages, without them; leave only those "
                    "that a text truly speaks of.",
                )

    def _find(self, text: str) -> Iterator[str]:
        for char, patterns in _BY_CHARACTER.items():
            if char in text:
                for sign, pattern in patterns:
                    for match in pattern.finditer(text) if sign in text else ():
                        yield _NAMES.get(sign, match.group().strip())
        if self.own is not None:
            for match in self.own.finditer(text):
                yield match.group()


def _own_controls(open_renderer: Callable[[], Renderer]) -> re.Pattern[str] | None:
    """The control tokens of the model that will be trained, those that could not be plain words."""
    tokens = (text.strip() for text in open_renderer().control_strings)
    texts = sorted(
        (text for text in tokens if len(text) >= _SHORTEST_OWN), key=lambda text: (-len(text), text)
    )
    return re.compile("|".join(map(re.escape, texts))) if texts else None
