"""Questions about two or three facts at once: the size of the field, the goals whole, and pairs of facts.

The frames of a pair are built from short parts that are themselves asked alone in `phrasings`.
Knows nothing of splits' sizes or of files.
"""

from dataclasses import dataclass

from luthier.demo.grammar import Cores, Phrasebook
from luthier.demo.slots import CONTEXTS, SLOTS


@dataclass(frozen=True, slots=True)
class Parts:
    """The short ways of asking for one fact inside a larger question."""

    questions: tuple[str, str, str]
    nouns: tuple[str, str, str]


PARTS: dict[str, Parts] = {
    "width": Parts(
        ("how wide is {field}", "how broad is {field}", "how far is it across {field}"),
        ("the width of {field}", "the breadth of {field}", "the distance across {field}"),
    ),
    "length": Parts(
        (
            "how long is {field} overall",
            "how long is {field} from end to end",
            "how long is {field} in total",
        ),
        (
            "the overall length of {field}",
            "the total length of {field}",
            "the length of {field} from end to end",
        ),
    ),
    "try_lines": Parts(
        ("how far apart are {lines}", "how far is it from {line} to {line}", "how far is it between {lines}"),
        ("the distance between {lines}", "the gap between {lines}", "the distance from {line} to {line}"),
    ),
    "halfway": Parts(
        ("how far is {half} from {aline}", "how far is it from {aline} to {half}", "where is {half}"),
        ("the distance from {half} to {aline}", "the distance to {half} from {aline}", "the place of {half}"),
    ),
    "posts_apart": Parts(
        ("how far apart are {posts}", "how wide apart are {posts}", "how wide is the gap between {posts}"),
        ("the distance between {posts}", "the gap between {posts}", "the space between {posts}"),
    ),
    "posts_height": Parts(
        ("how high are {posts}", "how tall are {posts}", "how high must {posts} be"),
        ("the height of {posts}", "the minimum height of {posts}", "the least height of {posts}"),
    ),
    "crossbar": Parts(
        ("how high is {bar}", "how far above the ground is {bar}", "how high up is {bar}"),
        (
            "the height of {bar}",
            "the height of {bar} above the ground",
            "the distance from the ground to {bar}",
        ),
    ),
    "in_goal": Parts(
        ("how deep is {ingoal}", "how far back does {ingoal} go", "how deep should {ingoal} be"),
        ("the depth of {ingoal}", "the size of {ingoal}", "the depth in metres of {ingoal}"),
    ),
    "transverse_lines": Parts(
        ("how far apart are {cross}", "how many metres apart are {cross}", "how far apart should {cross} be"),
        ("the spacing of {cross}", "the distance between {cross}", "the interval between {cross}"),
    ),
    "markings": Parts(
        ("how wide are {marks}", "how thick are {marks}", "how wide should {marks} be"),
        ("the width of {marks}", "the thickness of {marks}", "the painted width of {marks}"),
    ),
}

PAIRS: tuple[tuple[str, str], ...] = (
    ("width", "in_goal"),
    ("length", "in_goal"),
    ("try_lines", "halfway"),
    ("posts_apart", "posts_height"),
    ("posts_height", "crossbar"),
    ("posts_apart", "crossbar"),
    ("width", "try_lines"),
    ("width", "crossbar"),
    ("length", "try_lines"),
    ("transverse_lines", "markings"),
    ("width", "posts_height"),
    ("halfway", "in_goal"),
)

# Pair frames are numbered by (first part, second part, order); these go to test and valid, the rest to train.
# Every part is still used in train, beside another partner.
TEST_FRAMES = frozenset({(0, 1, 0), (1, 2, 0), (2, 0, 1), (0, 0, 1)})
VALID_FRAMES = frozenset({(1, 0, 1), (2, 2, 0)})


def _pair_cores(first: Parts, second: Parts, frames: frozenset[tuple[int, int, int]]) -> Cores:
    questions, plurals = [], []
    for i, j, order in sorted(frames):
        asked, named = (first.questions[i], second.questions[j]), (first.nouns[i], second.nouns[j])
        if order:
            asked, named = asked[::-1], named[::-1]
        questions.append(" and ".join(asked))
        plurals.append(" and ".join(named))
    return Cores(questions=tuple(questions), plurals=tuple(plurals))


def _pair_book(first: Parts, second: Parts) -> Phrasebook:
    every = frozenset((i, j, order) for i in range(3) for j in range(3) for order in range(2))
    return Phrasebook(
        train=_pair_cores(first, second, every - TEST_FRAMES - VALID_FRAMES),
        valid=_pair_cores(first, second, VALID_FRAMES),
        test=_pair_cores(first, second, TEST_FRAMES),
        slots=SLOTS,
        contexts=CONTEXTS,
    )


_SIZE_BOOK = Phrasebook(
    train=Cores(
        questions=(
            "how big [is] {field}|", "what size [is] {field}|", "how large [is] {field}|",
            "how long and wide [is] {field}|", "how long and how wide [is] {field}|",
            "how wide and long [is] {field}|", "how big should {field} be", "how big does {field} have to be",
            "how long and how broad [is] {field}|", "what length and width [is] {field}|",
        ),
        nouns=("the size of {field}", "the full size of {field}", "the length and width of {field}"),
        plurals=("the dimensions of {field}", "the measurements of {field}",
                 "the width and length of {field}",
                 "the length and the breadth of {field}", "the overall measurements of {field}"),
        keywords=("{kfield} size", "{kfield} dimensions", "{kfield} length and width", "size of {kfield}",
                  "{kfield} measurements", "how big {kfield}", "dimensions of {kfield} in metres"),
    ),
    valid=Cores(
        questions=("how large should {field} be",),
        plurals=("the full measurements of {field}",),
        keywords=("measurements of {kfield}",),
    ),
    test=Cores(
        questions=("how broad and how long [is] {field}|", "what size should {field} be",
                   "how long and wide should {field} be", "how large does {field} have to be"),
        nouns=("the overall size of {field}",),
        plurals=("the full dimensions of {field}", "the dimensions in metres of {field}"),
        keywords=("{kfield} width and length", "{kfield} how big"),
    ),
    slots=SLOTS,
    contexts=CONTEXTS,
)  # fmt: skip

_GOAL_SLOTS = {
    **SLOTS,
    "goals": ("the goals", "the goalposts and crossbar", "the posts and crossbar",
              "the goal posts and the crossbar",
              "the uprights and the crossbar"),
    "goal": ("the goal", "a goal", "each goal", "a set of goalposts"),
    "kgoal": ("goal", "goals", "posts and crossbar", "goalposts and crossbar"),
}  # fmt: skip

_GOAL_BOOK = Phrasebook(
    train=Cores(
        questions=(
            "how big [is] {goal}| {where}", "what size [are] {goals}| {where}",
            "how big [are] {goals}| {where}",
            "how big should {goal} be {where}", "how large [is] {goal}| {where}",
        ),
        nouns=("the size of {goal} {where}", "the full size of {goal} {where}"),
        plurals=("the dimensions of {goals} {where}", "the measurements of {goals} {where}",
                 "the dimensions of {goal} {where}", "the full measurements of {goal} {where}"),
        keywords=("{kgame} {kgoal} dimensions", "{kgame} {kgoal} size", "dimensions of {kgame} {kgoal}",
                  "{kgame} {kgoal} measurements"),
    ),
    valid=Cores(
        questions=("how large [are] {goals}| {where}",),
        plurals=("the overall dimensions of {goals} {where}",),
        keywords=("size of {kgame} {kgoal}",),
    ),
    test=Cores(
        questions=("what size [is] {goal}| {where}", "how big should {goals} be {where}",
                   "how large should {goal} be {where}"),
        nouns=("the overall size of {goal} {where}",),
        plurals=("the measurements of {goal} {where}", "the full dimensions of {goals} {where}"),
        keywords=("measurements of {kgame} {kgoal}", "{kgame} {kgoal} how big"),
    ),
    slots=_GOAL_SLOTS,
    contexts=CONTEXTS,
)  # fmt: skip

# The facts of an answer, in the order in which it states them, and the ways of asking for them.
COMBINED_PHRASEBOOKS: dict[tuple[str, ...], Phrasebook] = {
    ("length", "width"): _SIZE_BOOK,
    ("posts_apart", "posts_height", "crossbar"): _GOAL_BOOK,
    **{pair: _pair_book(PARTS[pair[0]], PARTS[pair[1]]) for pair in PAIRS},
}
