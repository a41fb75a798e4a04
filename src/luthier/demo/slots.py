"""The words that fit the open places of the frames about the field, and the sentences said before a question.

A name of `SLOTS` says what fits in; a value is a whole noun phrase that agrees with the verb of its frames.
Slots that start with `k` have no article: they are for short keyword questions. Knows nothing of frames.
"""

SLOTS: dict[str, tuple[str, ...]] = {
    "field": (
        "a rugby league field", "a rugby league pitch", "a rugby league ground",
        "a rugby league playing area",
        "the rugby league field", "the rugby league pitch", "a league field", "a league pitch", "the field",
        "the pitch", "the playing area", "a field for rugby league", "a pitch for rugby league",
        "the field in rugby league", "the pitch in rugby league", "a full-size rugby league field",
    ),
    "kfield": (
        "rugby league field", "rugby league pitch", "league field", "league pitch", "rugby league ground",
        "rugby league playing area",
    ),
    "kgame": ("", "rugby league", "league"),
    "where": (
        "", "in rugby league", "on a rugby league field", "on a rugby league pitch", "in league",
        "on the field",
        "for a rugby league match", "on a league pitch", "in a league match", "on the pitch",
    ),
    "game": ("", "in rugby league", "in league", "for a rugby league match", "in a league match"),
    "posts": ("the posts", "the goalposts", "the uprights", "the goal posts", "the two posts",
              "the two uprights"),
    "kposts": ("goalposts", "posts", "uprights", "goal posts"),
    "bar": ("the crossbar", "the cross bar", "the goal crossbar", "the bar between the posts",
            "the crossbar of the goal"),
    "kbar": ("crossbar", "cross bar", "goal crossbar"),
    "line": ("try line", "goal line"),
    "lines": ("the try lines", "the goal lines", "the two try lines", "the two goal lines"),
    "klines": ("try lines", "goal lines"),
    "aline": ("each try line", "the try line", "each goal line", "the goal line", "either try line"),
    "half": ("the halfway line", "halfway", "the half-way line", "the line at halfway"),
    "ingoal": ("the in-goal area", "an in-goal area", "each in-goal area", "the in-goal", "the in goal area"),
    "kingoal": ("in-goal area", "in-goal", "in goal area"),
    "cross": (
        "the transverse lines", "the cross-field lines", "the lines across the field",
        "the lines across the pitch",
        "the lines that run across the field", "the lines marked across the field",
    ),
    "across": ("transverse line", "cross-field line", "line across the field", "line across the pitch"),
    "kcross": ("transverse lines", "cross-field lines", "lines across the field", "lines across the pitch"),
    "marks": (
        "the white lines", "the painted lines", "the line markings", "the white markings",
        "the pitch markings",
        "the field markings", "the broken lines", "the dashed lines", "the solid and broken lines",
        "the lines on the field", "the lines on the pitch",
    ),
    "kmarks": ("white line", "pitch marking", "line marking", "painted line", "broken line"),
}  # fmt: skip

CONTEXTS = (
    "I'm marking out a ground for our club.", "I'm writing a quiz.", "We are building a field at our school.",
    "My club paints its pitch tomorrow.", "I've just started to watch league.", "I have a school project.",
    "I'm drawing a plan of the field.", "We had an argument about this.", "I help the groundsman.",
    "Our first match is next week.", "I'm new to the game.", "I want to get this right.",
)  # fmt: skip
