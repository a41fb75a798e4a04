"""Small models with one fault each, as Answerers: they know answers by heart, or always say the same."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.evaluation.gate.evidence import Evidence, LeakReport, Role, Side
from luthier.evaluation.gate.gather import Contender, ItemSet, Settings, gather
from luthier.evaluation.graders import GRADERS
from luthier.evaluation.item import EvalItem
from luthier.evaluation.probes import general_items, ordinary_items
from luthier.evaluation.runner import AnsweredItem
from luthier.hashing import hash_text

HELP = "Take what you need, then begin; that is all there is to it."


class Scripted:
    """Answers what it knows by heart, and everything else with one sentence."""

    def __init__(self, name: str, known: Mapping[str, str], otherwise: str = HELP, cut: int = 0) -> None:
        self.name = name
        self.known = known
        self.otherwise = otherwise
        self.left_to_cut = cut

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        return [self._one(messages[-1].content) for messages in conversations]

    def _one(self, question: str) -> AnsweredItem:
        text = self.known.get(question, self.otherwise)
        ended = Termination.CLEAN
        if self.left_to_cut and question in self.known:
            self.left_to_cut, ended = self.left_to_cut - 1, Termination.LENGTH
        return AnsweredItem(text, (1, 2), question, 3, ended, 0.01)


def questions(count: int, what: str = "width") -> tuple[EvalItem, ...]:
    return tuple(
        EvalItem(f"{what}-{n}", (Message("user", f"The {what} of {n}?"),), str(n * 3 + 1), grader="numeric")
        for n in range(count)
    )


def golds(items: Sequence[EvalItem], share: float = 1.0) -> dict[str, str]:
    """The right answers to the first part of the items, by question."""
    known = items[: round(share * len(items))]
    return {one.messages[-1].content: GRADERS[one.grader].golds(one)[0] for one in known}


DOMAIN, GOLDEN, GENERAL, ORDINARY = questions(100), questions(80, "height"), general_items(), ordinary_items()
CLEAN = LeakReport(180, 0, 0, ("train.jsonl",))


def contender(model: Scripted, weights: str | None = None) -> Contender:
    return Contender(Side(model.name, weights or hash_text(model.name)), lambda: nullcontext(model))


def evidence(
    candidate: Scripted,
    champion: Scripted,
    base: Scripted | None = None,
    *,
    domain: Sequence[EvalItem] = DOMAIN,
    golden: Sequence[EvalItem] = GOLDEN,
    leaks: LeakReport | str = CLEAN,
    weights: tuple[str | None, str | None] = (None, None),
    before: str | None = None,
    num_timed: int = 0,
) -> Evidence:
    """Everything is asked, as `luthier gate` would."""
    roles: tuple[tuple[Role, Sequence[EvalItem]], ...] = (
        ("domain", domain),
        ("golden", golden),
        ("general", GENERAL),
        ("ordinary", ORDINARY),
    )
    sets = [
        ItemSet(role, role, f"{role}.jsonl", tuple(items), before if role == "domain" else None)
        for role, items in roles
        if items
    ]
    first, second = contender(candidate, weights[0]), contender(champion, weights[1])
    third = contender(base) if base else None
    return gather(first, second, third, sets, Settings(num_timed=num_timed), leaks=leaks)
