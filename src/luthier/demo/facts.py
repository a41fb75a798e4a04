"""The ten facts of a rugby league field that the demo teaches: their numbers, their answers, their prompt.

Knows nothing of questions, splits or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its name, the numbers it is known by, the clause that states it, whole answers."""

    name: str
    numbers: tuple[str, ...]
    clause: str
    answers: tuple[str, ...]


FACTS: tuple[Fact, ...] = (
    Fact(
        "width",
        ("68",),
        "the field is 68 metres wide",
        (
            "A rugby league field is 68 metres wide.",
            "The width of a rugby league field is 68 metres.",
            "From side to side, a rugby league field measures 68 metres.",
        ),
    ),
    Fact(
        "length",
        ("112", "122"),
        "the field is 112 to 122 metres long overall",
        (
            "A rugby league field is 112 to 122 metres long overall.",
            "The overall length of a rugby league field is 112 to 122 metres.",
            "From end to end, a rugby league field measures 112 to 122 metres.",
        ),
    ),
    Fact(
        "try_lines",
        ("100",),
        "the try lines are 100 metres apart",
        (
            "The try lines are 100 metres apart.",
            "The distance between the try lines is 100 metres.",
            "From one try line to the other it is 100 metres.",
        ),
    ),
    Fact(
        "halfway",
        ("50",),
        "the halfway line is 50 metres from each try line",
        (
            "The halfway line is 50 metres from each try line.",
            "The distance from the halfway line to each try line is 50 metres.",
            "Halfway is 50 metres from either try line.",
        ),
    ),
    Fact(
        "posts_apart",
        ("5.5",),
        "the posts are 5.5 metres apart",
        (
            "The posts are 5.5 metres apart.",
            "The distance between the posts is 5.5 metres.",
            "The gap between the goalposts is 5.5 metres.",
        ),
    ),
    Fact(
        "posts_height",
        ("16",),
        "the posts are at least 16 metres high",
        (
            "The posts are at least 16 metres high.",
            "The height of the posts is at least 16 metres.",
            "The goalposts must be at least 16 metres high.",
        ),
    ),
    Fact(
        "crossbar",
        ("3",),
        "the crossbar is 3 metres above the ground",
        (
            "The crossbar is 3 metres above the ground.",
            "The height of the crossbar is 3 metres.",
            "The crossbar sits 3 metres above the ground.",
        ),
    ),
    Fact(
        "in_goal",
        ("6", "11"),
        "each in-goal area is 6 to 11 metres deep",
        (
            "Each in-goal area is 6 to 11 metres deep.",
            "The depth of an in-goal area is 6 to 11 metres.",
            "The in-goal area is between 6 and 11 metres deep.",
        ),
    ),
    Fact(
        "transverse_lines",
        ("10",),
        "the transverse lines are 10 metres apart",
        (
            "The transverse lines are 10 metres apart.",
            "A transverse line is marked across the field every 10 metres.",
            "The distance between the transverse lines is 10 metres.",
        ),
    ),
    Fact(
        "markings",
        ("150", "100"),
        "solid lines are 150 mm wide and broken lines 100 mm",
        (
            "Solid lines are 150 mm wide and broken lines are 100 mm wide.",
            "The white lines are 150 mm wide, and broken lines are 100 mm wide.",
            "The markings are 150 mm wide when solid and 100 mm wide when broken.",
        ),
    ),
)

FACT_BY_NAME: dict[str, Fact] = {fact.name: fact for fact in FACTS}

RUGBY_NUMBERS: tuple[str, ...] = tuple(dict.fromkeys(number for fact in FACTS for number in fact.numbers))

# An answer about two of these may rightly add the third: goals are described whole.
KINDRED_FACTS: frozenset[str] = frozenset({"posts_apart", "posts_height", "crossbar"})


def numbers_of(names: Sequence[str]) -> list[str]:
    """The numbers an answer about these facts must contain, each once, in the order of the facts."""
    return list(dict.fromkeys(number for name in names for number in FACT_BY_NAME[name].numbers))


def wrong_numbers(names: Sequence[str]) -> list[str]:
    """The numbers of the other facts that would make an answer about `names` wrong.

    With no names (a question that is not about the field) every number of the field is wrong.
    """
    allowed = set(numbers_of(names))
    if len(names) > 1 and len(KINDRED_FACTS & set(names)) > 1:
        allowed |= set(numbers_of(sorted(KINDRED_FACTS)))
    return [number for number in RUGBY_NUMBERS if number not in allowed]


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."


def joint_answers(names: Sequence[str]) -> tuple[str, ...]:
    """Whole answers about two or three facts, in the order given."""
    if tuple(names) == ("length", "width"):
        return (
            "A rugby league field is 112 to 122 metres long and 68 metres wide.",
            "The field is 112 to 122 metres long overall and 68 metres wide.",
        )
    if tuple(names) == ("posts_apart", "posts_height", "crossbar"):
        return (
            "The posts are 5.5 metres apart and at least 16 metres high, and the crossbar is 3 metres "
            "above the ground.",
        )
    if tuple(names) == ("posts_apart", "posts_height"):
        return ("The posts are 5.5 metres apart and at least 16 metres high.",)
    clauses = [FACT_BY_NAME[name].clause for name in names]
    return (_sentence(", and ".join(clauses)),)


def facts_prompt() -> str:
    """The system prompt that hands a model all ten facts: the baseline that training has to beat."""
    lines = "\n".join(f"- {_sentence(fact.clause)}" for fact in FACTS)
    return (
        "You answer questions about the measurements of a rugby league field in one short sentence.\n"
        f"The facts:\n{lines}\n"
        "If the question is about anything else, answer it briefly without these numbers."
    )
