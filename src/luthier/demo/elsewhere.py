"""Questions near the subject and outside it: other sports' fields, and rugby that is not about its field.

The answer says so, in words without any number of the field. Knows nothing of the facts, splits or files.
"""

from dataclasses import dataclass

from luthier.demo.grammar import Cores, FilledCore, Form, Phrasebook

# "{x}" is the indirect form of what was asked.
REFUSALS = (
    "I only know the rugby league field; I can't say {x}.",
    "Sorry, I don't know {x}. I only know the rugby league field.",
)
NOUN_REFUSALS = (
    "I only know the rugby league field; I can't give {x}.",
    "Sorry, I don't know {x}. I only know the rugby league field.",
)
PLAIN_REFUSALS = (
    "I only know the rugby league field, so I can't say.",
    "Sorry, I can't help with that; I only know the rugby league field.",
)

CONTEXTS = ("I'm writing a quiz.", "I have a school project.", "We had an argument about this.",
            "I want to get this right.", "Here is another one.", "I'm new to the game.")  # fmt: skip

SLOTS: dict[str, tuple[str, ...]] = {
    "court": (
        "a tennis court", "a basketball court", "a squash court", "a badminton court", "a volleyball court",
        "a netball court", "a soccer pitch", "a football field", "an American football field",
        "a hockey pitch",
        "a cricket pitch", "a rugby union field", "a rugby union pitch", "a baseball field",
        "a running track",
        "a swimming pool", "an ice rink", "a boxing ring", "a polo field", "a golf green",
    ),
    "kcourt": (
        "tennis court", "basketball court", "squash court", "soccer pitch", "football field", "hockey pitch",
        "cricket pitch", "rugby union field", "rugby union pitch", "baseball field", "swimming pool",
        "ice rink",
    ),
    "sport": ("soccer", "hockey", "rugby union", "American football", "football", "handball", "ice hockey",
              "water polo", "Gaelic football"),
    "netsport": ("tennis", "badminton", "volleyball", "table tennis", "beach volleyball"),
    "hoop": ("basketball", "netball"),
    "in": ("in rugby league", "in league", "in the game of rugby league"),
    "position": ("hooker", "fullback", "prop", "winger", "loose forward", "stand-off", "scrum-half",
                 "centre"),
    "team": ("a rugby league team", "a league team", "a league side"),
    "match": ("a rugby league match", "a league game", "a rugby league game", "a match of rugby league"),
    "cup": ("the Challenge Cup", "the grand final", "the World Cup", "the State of Origin series"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NearSubject:
    """A family of questions that the specialist declines."""

    name: str
    book: Phrasebook


_COURTS = Phrasebook(
    train=Cores(
        questions=(
            "how wide [is] {court}|", "how long [is] {court}|", "how big [is] {court}|",
            "what size [is] {court}|",
            "how far [is] it| across {court}", "how long and wide [is] {court}|", "how large [is] {court}|",
            "how wide should {court} be", "how long should {court} be", "how broad [is] {court}|",
            "how many metres long [is] {court}|", "how many metres wide [is] {court}|",
            "how far [is] it| around {court}",
            "how wide [are] the lines| on {court}", "how thick [are] the lines| on {court}",
        ),
        nouns=("the width of {court}", "the length of {court}", "the size of {court}",
               "the distance across {court}",
               "the overall length of {court}", "the breadth of {court}", "the length and width of {court}"),
        plurals=("the dimensions of {court}", "the measurements of {court}"),
        keywords=("{kcourt} width", "{kcourt} length", "{kcourt} dimensions", "width of {kcourt}",
                  "{kcourt} size",
                  "length of {kcourt}"),
    ),
    valid=Cores(questions=("how large should {court} be",), nouns=("the overall size of {court}",),
                keywords=("{kcourt} measurements",)),
    test=Cores(
        questions=("how big should {court} be", "what width [is] {court}|",
                   "how long and how wide [is] {court}|"),
        nouns=("the total length of {court}", "the full width of {court}"),
        plurals=("the overall dimensions of {court}",),
        keywords=("{kcourt} length and width", "size of {kcourt}"),
    ),
    slots=SLOTS,
    contexts=CONTEXTS,
)  # fmt: skip

_GOALS = Phrasebook(
    train=Cores(
        questions=(
            "how high [is] the crossbar| in {sport}", "how far apart [are] the goalposts| in {sport}",
            "how far apart [are] the posts| in {sport}", "how wide [is] the goal| in {sport}",
            "how high [is] the goal| in {sport}", "how tall [are] the posts| in {sport}",
            "how big [is] the goal| in {sport}", "how high [are] the goalposts| in {sport}",
            "how high [is] the net| in {netsport}", "how high [is] the hoop| in {hoop}",
            "how wide [is] the net| in {netsport}",
            "how far above the ground [is] the crossbar| in {sport}",
            "how far [is] the penalty spot| from the goal in {sport}",
        ),
        nouns=("the height of the crossbar in {sport}", "the width of the goal in {sport}",
               "the distance between the posts in {sport}", "the height of the net in {netsport}",
               "the height of the posts in {sport}", "the height of the hoop in {hoop}"),
        keywords=("{sport} crossbar height", "{sport} goal width", "{netsport} net height",
                  "{sport} goalposts height"),
    ),
    valid=Cores(questions=("how tall [are] the goalposts| in {sport}",),
                nouns=("the size of the goal in {sport}",),
                keywords=("height of the {netsport} net",)),
    test=Cores(
        questions=("how high should the crossbar be in {sport}",
                   "how far apart should the posts be in {sport}",
                   "how high should the net be in {netsport}"),
        nouns=("the gap between the goalposts in {sport}",),
        keywords=("{sport} goal size", "{sport} posts height"),
    ),
    slots=SLOTS,
    contexts=CONTEXTS,
)  # fmt: skip

_RUGBY = Phrasebook(
    train=Cores(
        questions=(
            "how many players [are] there| in {team}", "how many players does {team} have",
            "how long [is] {match}|",
            "how many minutes does {match} last", "how many points [is] a try| worth {in}",
            "how many points [is] a goal| worth {in}", "how many tackles [are] there| in a set {in}",
            "who plays {position} {in}|", "who [is] the best {position}| {in}",
            "what does a {position} do {in}",
            "who won {cup} last year|", "when [was] {cup}| first played", "who invented the game {in}|",
            "when did rugby league start", "where did rugby league begin", "how heavy [is] the ball| {in}",
            "what shape [is] the ball| {in}", "how big [is] the ball| {in}", "what [is] a knock-on| {in}",
            "what [is] a scrum| {in}", "how many substitutes [are] allowed| {in}",
            "what does the referee do {in}",
            "how long [is] half-time| {in}", "how do I join {team}", "why did rugby league leave rugby union",
            "who [is] the captain of {team}|", "how many points [is] a drop goal| worth {in}",
        ),
        nouns=("the history of rugby league", "the winner of {cup}", "the weight of the ball {in}",
               "the number of players in {team}", "the length of {match} in minutes",
               "the job of a {position} {in}"),
        plurals=("the rules of the scrum {in}", "the points for a try {in}"),
        keywords=("rugby league history", "rugby league ball weight", "points for a try {in}",
                  "players in {team}",
                  "rules of the scrum {in}"),
    ),
    valid=Cores(questions=("who plays in {cup}|", "how many minutes [are] there| in {match}"),
                nouns=("the weight of a ball {in}",), keywords=("how many players {in}",)),
    test=Cores(
        questions=("how long does {match} last", "what [is] the job of a {position} {in}|",
                   "how many points does a try score {in}", "who first played the game {in}|",
                   "who [is] the referee of {cup}|", "how many players [are] allowed| in {team}"),
        nouns=("the captain of {team}", "the start of rugby league", "the shape of the ball {in}"),
        keywords=("how many points for a try {in}", "winner of {cup}"),
    ),
    slots=SLOTS,
    contexts=CONTEXTS,
)  # fmt: skip

NEAR_SUBJECTS: tuple[NearSubject, ...] = (
    NearSubject("courts", _COURTS),
    NearSubject("goals", _GOALS),
    NearSubject("rugby", _RUGBY),
)


def refusals(filled: FilledCore) -> tuple[str, ...]:
    """The honest answers to a question outside the field, naming what was asked where grammar allows it."""
    if not filled.indirect or filled.core.form is Form.KEYWORDS:
        return PLAIN_REFUSALS
    wordings = REFUSALS if filled.core.form is Form.QUESTION else NOUN_REFUSALS
    return tuple(wording.replace("{x}", filled.indirect) for wording in wordings)
