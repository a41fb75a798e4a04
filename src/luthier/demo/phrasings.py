"""How people ask for one fact of the field: for each fact the frames of train, valid and test.

The frames of valid and test use no word that train does not use. Knows nothing of answers or files.
"""

from luthier.demo.grammar import Cores, Phrasebook
from luthier.demo.slots import CONTEXTS, SLOTS


def _book(train: Cores, valid: Cores, test: Cores) -> Phrasebook:
    return Phrasebook(train, valid, test, SLOTS, CONTEXTS)


FACT_PHRASEBOOKS: dict[str, Phrasebook] = {
    "width": _book(
        Cores(
            questions=(
                "how wide [is] {field}|", "how broad [is] {field}|", "how many metres wide [is] {field}|",
                "how far [is] it| across {field}", "how far [is] it| from side to side on {field}",
                "how far [is] it| from one touchline to the other on {field}", "how wide should {field} be",
                "how wide does {field} have to be", "what width [is] {field}|", "what breadth [is] {field}|",
                "how far apart [are] the touchlines| on {field}", "how wide [is] {field}| from side to side",
            ),
            nouns=(
                "the width of {field}", "the breadth of {field}", "the distance across {field}",
                "the distance from side to side on {field}", "the distance between the touchlines of {field}",
                "the side to side measurement of {field}", "the width in metres of {field}",
            ),
            keywords=(
                "{kfield} width", "{kfield} breadth", "width of {kfield}", "{kfield} width in metres",
                "{kfield} touchline to touchline", "{kfield} side to side",
            ),
        ),
        Cores(questions=("how broad should {field} be",), nouns=("the full breadth of {field}",),
              keywords=("{kfield} how broad",)),
        Cores(
            questions=("what width should {field} have", "how many metres [is] it| across {field}",
                       "how many metres broad [is] {field}|"),
            nouns=("the touchline to touchline distance of {field}", "the full width of {field}"),
            keywords=("{kfield} how wide", "breadth of {kfield} in metres"),
        ),
    ),
    "length": _book(
        Cores(
            questions=(
                "how long [is] {field}|", "how long [is] {field}| overall", "how long [is] {field}| in total",
                "how long [is] {field}| from end to end", "how many metres long [is] {field}|",
                "how far [is] it| from end to end on {field}", "how long should {field} be",
                "how far [is] it| from one dead ball line to the other on {field}",
                "what length [is] {field}|",
                "how far apart [are] the dead ball lines| on {field}", "how long does {field} have to be",
                "how long [is] {field}| with both in-goal areas",
            ),
            nouns=(
                "the length of {field}", "the overall length of {field}", "the total length of {field}",
                "the full length of {field}", "the distance from end to end on {field}",
                "the distance between the dead ball lines of {field}",
                "the end to end measurement of {field}",
                "the length in metres of {field}",
            ),
            keywords=(
                "{kfield} length", "{kfield} total length", "length of {kfield}", "{kfield} overall length",
                "{kfield} length in metres", "{kfield} end to end",
            ),
        ),
        Cores(questions=("how many metres long should {field} be",),
              nouns=("the total distance from end to end on {field}",),
              keywords=("overall length of {kfield}",)),
        Cores(
            questions=("what length should {field} have",
                       "how many metres [is] it| from end to end on {field}",
                       "what overall length [is] {field}|"),
            nouns=("the end to end length of {field}", "the full end to end distance on {field}"),
            keywords=("{kfield} how long", "total length of {kfield} in metres"),
        ),
    ),
    "try_lines": _book(
        Cores(
            questions=(
                "how far apart [are] {lines}| {where}",
                "how far [is] it| from one {line} to the other {where}",
                "how far [is] it| from {line} to {line} {where}",
                "how many metres apart [are] {lines}| {where}",
                "how many metres [are] there| between {lines} {where}",
                "what distance separates {lines} {where}|",
                "how far apart should {lines} be {where}", "how far [is] one {line}| from the other {where}",
                "how big [is] the gap| between {lines} {where}", "how far [is] it| between {lines} {where}",
            ),
            nouns=(
                "the distance between {lines} {where}", "the distance from {line} to {line} {where}",
                "the gap between {lines} {where}", "the distance from one {line} to the other {where}",
                "the spacing of {lines} {where}", "the distance that separates {lines} {where}",
            ),
            keywords=(
                "{line} to {line} distance", "distance between {kgame} {klines}", "{kgame} {klines} apart",
                "{kgame} {klines} distance",
                "{kfield} {line} to {line}", "gap between {kgame} {klines}",
            ),
        ),
        Cores(questions=("how far apart must {lines} be {where}",),
              nouns=("the space between {lines} {where}",),
              keywords=("{kgame} {klines} gap",)),
        Cores(
            questions=("how many metres [is] it| from one {line} to the other {where}",
                       "how many metres separate {lines} {where}|",
                       "how much space [is] there| between {lines} {where}"),
            nouns=("the number of metres between {lines} {where}",
                   "the gap from one {line} to the other {where}"),
            keywords=("{kgame} {klines} how far apart", "{kfield} distance between {klines}"),
        ),
    ),
    "halfway": _book(
        Cores(
            questions=(
                "how far [is] {half}| from {aline} {where}", "how far [is] {aline}| from {half} {where}",
                "how many metres [is] {half}| from {aline}",
                "how far [is] it| from {half} to {aline} {where}",
                "how far [is] it| from {aline} to {half} {where}", "what distance [is] {half}| from {aline}",
                "how far from {aline} should {half} be", "how far out from {aline} [is] {half}|",
                "where [is] {half}| {where}", "how far up the field [is] {half}|",
            ),
            nouns=(
                "the distance from {half} to {aline} {where}", "the distance from {aline} to {half} {where}",
                "the distance between {half} and {aline}", "the gap between {aline} and {half}",
                "the distance to {half} from {aline}", "the place of {half} {where}",
            ),
            keywords=(
                "halfway line distance", "{line} to halfway", "halfway to {line} distance",
                "{kfield} halfway line",
                "halfway line to {line} in metres", "distance from halfway to {line}",
            ),
        ),
        Cores(questions=("how far away from {aline} [is] {half}|",),
              nouns=("the space between {half} and {aline}",),
              keywords=("{line} to halfway line metres",)),
        Cores(
            questions=("how many metres [is] it| from {aline} to {half} {where}",
                       "what distance separates {half} from {aline}|",
                       "how far should {half} be from {aline} {where}"),
            nouns=("the number of metres from {half} to {aline}", "the gap from {aline} to {half} {where}"),
            keywords=("{kfield} {line} to halfway", "halfway line how far from {line}"),
        ),
    ),
    "posts_apart": _book(
        Cores(
            questions=(
                "how far apart [are] {posts}| {where}", "how wide apart [are] {posts}| {where}",
                "how many metres apart [are] {posts}| {where}", "how far [is] it| between {posts} {where}",
                "how wide [is] the gap| between {posts} {where}", "how wide [is] the goal| {where}",
                "how much space [is] there| between {posts} {where}",
                "how far apart should {posts} be {where}",
                "how far [is] one post| from the other {where}", "how far [is] it| from post to post {where}",
                "how wide [are] {posts}| {where}",
            ),
            nouns=(
                "the distance between {posts} {where}", "the gap between {posts} {where}",
                "the spacing of {posts} {where}", "the space between {posts} {where}",
                "the width of the goal {where}",
                "the distance from one post to the other {where}", "the distance from post to post {where}",
                "the number of metres between {posts}",
            ),
            keywords=(
                "{kgame} {kposts} gap", "distance between {kgame} {kposts}", "{kgame} goal width",
                "{kgame} {kposts} apart",
                "{kgame} {kposts} how far apart", "{kgame} {kposts} spacing",
            ),
        ),
        Cores(questions=("how wide apart should {posts} be {where}",),
              nouns=("the width between {posts} {where}",),
              keywords=("{kgame} {kposts} distance apart",)),
        Cores(
            questions=("how many metres [are] there| between {posts} {where}",
                       "what distance separates {posts} {where}|",
                       "how wide [is] the space| between {posts} {where}"),
            nouns=("the distance that separates {posts} {where}", "the gap from post to post {where}"),
            keywords=("gap between {kgame} {kposts}", "{kgame} {kposts} how wide apart"),
        ),
    ),
    "posts_height": _book(
        Cores(
            questions=(
                "how high [are] {posts}| {where}", "how tall [are] {posts}| {where}",
                "how many metres high [are] {posts}| {where}", "how many metres tall [are] {posts}| {where}",
                "how high must {posts} be {where}", "how tall should {posts} be {where}",
                "what height [are] {posts}| {where}", "how far up do {posts} go {where}",
                "how high do {posts} go {where}", "how tall [is] each post| {where}",
            ),
            nouns=(
                "the height of {posts} {where}", "the minimum height of {posts} {where}",
                "the least height of {posts} {where}", "the height in metres of {posts} {where}",
                "the height of each post {where}",
            ),
            keywords=(
                "{kgame} {kposts} height", "height of {kgame} {kposts}", "minimum height of {kgame} {kposts}",
                "{kgame} {kposts} height in metres",
                "{kgame} {kposts} how high", "{kfield} post height",
            ),
        ),
        Cores(questions=("how high should {posts} be {where}",),
              nouns=("the least height in metres of {posts}",),
              keywords=("{kgame} {kposts} minimum height",)),
        Cores(
            questions=("how tall must {posts} be {where}", "what height should {posts} have {where}",
                       "how many metres up do {posts} go {where}"),
            nouns=("the minimum height in metres of {posts}", "the height that {posts} must have {where}"),
            keywords=("{kgame} {kposts} how tall", "{kfield} height of {kposts}"),
        ),
    ),
    "crossbar": _book(
        Cores(
            questions=(
                "how high [is] {bar}| {where}", "how far above the ground [is] {bar}| {where}",
                "how far off the ground [is] {bar}| {where}",
                "how many metres above the ground [is] {bar}| {where}",
                "how many metres high [is] {bar}| {where}", "what height [is] {bar}| {where}",
                "at what height [is] {bar}| {where}", "how high should {bar} be {where}",
                "how high up [is] {bar}| {where}", "how far [is] it| from the ground to {bar} {where}",
                "how far up the posts [is] {bar}|",
            ),
            nouns=(
                "the height of {bar} {where}", "the height of {bar} above the ground {where}",
                "the distance from the ground to {bar} {where}", "the distance between the ground and {bar}",
                "the gap under {bar} {where}",
            ),
            keywords=(
                "{kgame} {kbar} height", "height of {kgame} {kbar}", "{kfield} crossbar height",
                "{kgame} {kbar} above the ground",
                "{kgame} {kbar} height in metres",
            ),
        ),
        Cores(questions=("how high above the ground [is] {bar}| {where}",),
              nouns=("the gap between the ground and {bar}",), keywords=("ground to {kgame} {kbar}",)),
        Cores(
            questions=("how many metres [is] it| from the ground to {bar} {where}",
                       "what height should {bar} have {where}",
                       "how many metres off the ground [is] {bar}| {where}"),
            nouns=("the height in metres of {bar} {where}", "the number of metres from the ground to {bar}"),
            keywords=("{kgame} {kbar} how high", "{kgame} {kbar} distance from the ground"),
        ),
    ),
    "in_goal": _book(
        Cores(
            questions=(
                "how deep [is] {ingoal}| {where}", "how many metres deep [is] {ingoal}| {where}",
                "how far [is] it| from {aline} to the dead ball line {where}",
                "how long [is] {ingoal}| {where}",
                "how far behind {aline} [is] the dead ball line|", "how big [is] {ingoal}| {where}",
                "what depth [is] {ingoal}| {where}", "how deep should {ingoal} be {where}",
                "how deep must {ingoal} be {where}", "how far back does {ingoal} go {where}",
            ),
            nouns=(
                "the depth of {ingoal} {where}", "the size of {ingoal} {where}",
                "the distance from {aline} to the dead ball line {where}",
                "the distance between {aline} and the dead ball line",
                "the depth in metres of {ingoal} {where}",
                "the space behind {aline} {where}",
            ),
            keywords=(
                "{kgame} {kingoal} depth", "depth of {kgame} {kingoal}", "{kfield} in-goal depth",
                "{line} to dead ball line",
                "{kgame} {kingoal} depth in metres", "{kgame} {kingoal} size",
            ),
        ),
        Cores(questions=("how many metres deep should {ingoal} be {where}",),
              nouns=("the full depth of {ingoal} {where}",), keywords=("{kgame} {kingoal} how far back",)),
        Cores(
            questions=("what depth should {ingoal} have {where}",
                       "how many metres back does {ingoal} go {where}",
                       "how far from {aline} [is] the dead ball line| {where}"),
            nouns=("the depth that {ingoal} must have {where}",
                   "the gap from {aline} to the dead ball line {where}"),
            keywords=("{kgame} {kingoal} how deep", "{kfield} {line} to dead ball line"),
        ),
    ),
    "transverse_lines": _book(
        Cores(
            questions=(
                "how far apart [are] {cross}| {game}", "how many metres apart [are] {cross}| {game}",
                "how often [is] a line| marked across {field}",
                "how far [is] it| from one {across} to the next {game}",
                "how many metres [are] there| between {cross} {game}",
                "how far [is] one {across}| from the next {game}",
                "how far apart should {cross} be {game}", "what spacing do {cross} have {game}",
                "at what interval [are] {cross}| painted {game}", "how many metres separate {cross} {game}|",
            ),
            nouns=(
                "the distance between {cross} {game}", "the spacing of {cross} {game}",
                "the interval between {cross} {game}", "the gap between {cross} {game}",
                "the distance from one {across} to the next {game}",
                "the spacing in metres of {cross} {game}",
            ),
            keywords=(
                "{kcross} spacing", "{kcross} interval", "distance between {kcross}", "{kcross} apart",
                "spacing of {kcross}", "gap between {kcross}",
            ),
        ),
        Cores(questions=("how far apart must {cross} be {game}",),
              nouns=("the space between {cross} {game}",),
              keywords=("{kcross} gap",)),
        Cores(
            questions=("what distance separates {cross} {game}|",
                       "how much space [is] there| between {cross} {game}",
                       "how many metres [is] it| from one {across} to the next {game}"),
            nouns=("the gap from one {across} to the next {game}",
                   "the interval in metres between {cross} {game}"),
            keywords=("{kcross} how far apart", "interval between {kcross}"),
        ),
    ),
    "markings": _book(
        Cores(
            questions=(
                "how wide [are] {marks}| {game}", "how thick [are] {marks}| {game}",
                "how broad [are] {marks}| {game}",
                "how many millimetres wide [are] {marks}| {game}", "how wide should {marks} be {game}",
                "how wide do I paint {marks} {game}", "how thick should {marks} be {game}",
                "what width [are] {marks}| {game}", "how thick do I paint {marks} {game}",
                "what thickness [are] {marks}| {game}",
            ),
            nouns=(
                "the width of {marks} {game}", "the thickness of {marks} {game}",
                "the breadth of {marks} {game}",
                "the painted width of {marks} {game}", "the width in millimetres of {marks} {game}",
                "the width that {marks} must have {game}",
            ),
            keywords=(
                "{kgame} {kmarks} width", "{kgame} {kmarks} thickness", "width of {kgame} {kmarks}",
                "{kfield} line width",
                "{kgame} {kmarks} width in millimetres", "{kgame} {kmarks} how thick",
            ),
        ),
        Cores(questions=("how wide must {marks} be {game}",),
              nouns=("the painted thickness of {marks} {game}",),
              keywords=("thickness of {kgame} {kmarks}",)),
        Cores(
            questions=("how many millimetres thick [are] {marks}| {game}",
                       "what width should {marks} have {game}",
                       "how thick must {marks} be {game}"),
            nouns=("the thickness in millimetres of {marks} {game}",
                   "the thickness that {marks} must have {game}"),
            keywords=("{kgame} {kmarks} how wide", "{kfield} line thickness"),
        ),
    ),
}  # fmt: skip
