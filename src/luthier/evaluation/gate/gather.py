"""Models and items -> evidence. Each model is opened once, asked all that concerns it, and let go.

The candidate is asked everything, the champion what the two are compared on, the base the general questions.
Knows nothing of where models and items come from, and of what the answers are worth.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from luthier.evaluation.gate.evidence import AskedSet, Evidence, LeakReport, Role, Side
from luthier.evaluation.graders import GRADERS, Grader
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import Answerer, Asking, EvalResult, evaluate

_CHAMPION_ROLES: tuple[Role, ...] = ("domain", "golden", "others")


@dataclass(frozen=True)
class Contender:
    """A model that can be opened. `side.system_prompt` goes before every question."""

    side: Side
    open: Callable[[], AbstractContextManager[Answerer]]


@dataclass(frozen=True)
class ItemSet:
    """Items and what they are for. `before`: the hash that they had at their first use, None where this is it.

    graders, max_new_tokens, system: those of the task that the items belong to, where they belong to one; its system
    prompt is for models that have none of their own. rules_hash: of how that task asks and grades. asking: another way
    than generation to come to a model's answers.
    """

    role: Role
    name: str
    path: str
    items: tuple[EvalItem, ...]
    before: str | None = None
    graders: Mapping[str, Grader] = field(default_factory=lambda: GRADERS)
    max_new_tokens: int | None = None
    system: str | None = None
    rules_hash: str | None = None
    asking: Callable[[Answerer], Asking] | None = None


@dataclass(frozen=True)
class Settings:
    """How the models are asked. num_timed: so many of the domain's questions are asked once more, one at a time.

    keep: is told (side's name, set, answers); on_progress: (what, items done, all).
    """

    max_new_tokens: int = 64
    batch_size: int = 32
    num_timed: int = 0
    keep: Callable[[str, ItemSet, EvalResult], None] = lambda name, one, result: None
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None


Answers = Mapping[tuple[str, str], EvalResult]
"""By role and path of the set."""


def gather(
    candidate: Contender,
    champion: Contender,
    base: Contender | None,
    sets: Sequence[ItemSet],
    settings: Settings,
    *,
    leaks: LeakReport | str,
    unasked_others: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    against: Answers | None = None,
) -> Evidence:
    """Ask the models. Without a base the general questions are left out: nobody could say what was forgotten.

    against: what `ask_against` found, where champion and base were asked the same before.
    """
    asked = [one for one in sets if base is not None or one.role != "general"]
    own, seconds = _ask(candidate, asked, settings, settings.num_timed)
    if against is None:
        against = ask_against(champion, base, asked, settings)
    return Evidence(
        candidate=candidate.side,
        champion=champion.side,
        base=base.side if base is not None else None,
        sets=tuple(
            AskedSet(
                one.role,
                one.name,
                one.path,
                own[_key(one)],
                against.get(_key(one)),
                one.before,
                one.rules_hash,
            )
            for one in asked
        ),
        leaks=leaks,
        unasked_others=unasked_others,
        seconds=seconds,
        warnings=tuple(warnings),
    )


def ask_against(
    champion: Contender, base: Contender | None, sets: Sequence[ItemSet], settings: Settings
) -> Answers:
    """What a candidate is held against: the champion's answers, and the base's to the general questions."""
    against, _ = _ask(champion, [one for one in sets if one.role in _CHAMPION_ROLES], settings)
    if base is not None:
        against |= _ask(base, [one for one in sets if one.role == "general"], settings)[0]
    return against


def _key(one: ItemSet) -> tuple[str, str]:
    return one.role, one.path


def _ask(
    contender: Contender, sets: Sequence[ItemSet], settings: Settings, num_timed: int = 0
) -> tuple[dict[tuple[str, str], EvalResult], tuple[float, ...]]:
    """The answers by set, and the seconds of those that were timed."""
    if not sets:
        return {}, ()
    side, answers = contender.side, {}
    with contender.open() as answerer:
        for one in sets:

            def tell(done: int, total: int, what: str = f"{side.name}: {one.name}") -> None:
                settings.on_progress(what, done, total)

            result = _evaluate(answerer, side, one, one.items, settings, settings.batch_size, tell)
            settings.keep(side.name, one, result)
            answers[_key(one)] = result
        return answers, tuple(_timed(answerer, side, sets, settings, num_timed))


def _evaluate(
    answerer: Answerer,
    side: Side,
    one: ItemSet,
    items: Sequence[EvalItem],
    settings: Settings,
    batch_size: int,
    tell: Callable[[int, int], None] | None = None,
) -> EvalResult:
    return evaluate(
        answerer,
        items,
        system_prompt=side.system_prompt if side.system_prompt is not None else one.system,
        max_new_tokens=one.max_new_tokens or settings.max_new_tokens,
        batch_size=batch_size,
        on_progress=tell,
        graders=one.graders,
        asking=one.asking(answerer) if one.asking is not None else None,
    )


def _timed(
    answerer: Answerer, side: Side, sets: Sequence[ItemSet], settings: Settings, num_timed: int
) -> Iterator[float]:
    """Seconds per answer, one question at a time, over questions from the whole domain; the first is asked twice."""
    domain = [(one, item) for one in sets if one.role == "domain" for item in one.items]
    chosen = domain[:: max(1, len(domain) // num_timed)][:num_timed] if num_timed else []
    for one, item in chosen[:1]:
        _evaluate(answerer, side, one, [item], settings, 1)
    for one, item in chosen:
        yield _evaluate(answerer, side, one, [item], settings, 1).items[0].seconds
