"""What moves a judge that should not: order, length, its own words, and orders hidden in an answer.

Every measure is a share of probe cases, with how many were counted: cases without a verdict are left out of it, and
are a share of their own. This file knows nothing of labels by people and of what share is still acceptable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.chat.messages import Message
from luthier.evaluation.judge.asking import Judge, Outcome
from luthier.evaluation.judge.degenerate import degenerate_reason
from luthier.evaluation.judge.framing import data_key
from luthier.evaluation.judge.pairing import PairCase, Paired, pair
from luthier.evaluation.judge.probe import Probe, ProbeQuestion
from luthier.evaluation.judge.replies import Preference
from luthier.evaluation.judge.rubric import Rubric
from luthier.evaluation.judge.scoring import Case, Scored, score

_RESTATE = (
    "Between the two marks with the key {key} stands an answer to a question. Say it in your own words. Keep every "
    "statement as it is, right or wrong, and add none. Reply with the new wording alone.\n\n"
    "[ANSWER {key}]\n{answer}\n[END ANSWER {key}]"
)


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `counted`; `num_cases` were tried. A net share has those against it taken off: it may be negative."""

    hits: int
    counted: int
    num_cases: int
    is_net: bool = False

    @property
    def value(self) -> float:
        """0 where nothing was counted."""
        return self.hits / self.counted if self.counted else 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """The measures, by name in the order of docs/judges.md, the attempts that worked, and the mean self-consistency."""

    measures: dict[str, Share]
    moved_by: tuple[str, ...]
    entropy_bits: float


def try_judge(judge: Judge, rubric: Rubric, probe: Probe) -> Trial:
    """Measure everything on the probe. Raises ModelError where the judge cannot be asked."""
    questions = probe.questions
    scored_good = score(judge, [Case(q.id, q.question, q.good) for q in questions], rubric)
    scored_bad = score(judge, [Case(q.id, q.question, q.bad) for q in questions], rubric)
    plain = pair(judge, [PairCase(q.id, q.question, q.good, q.bad) for q in questions], rubric)
    padded = pair(judge, [PairCase(q.id, q.question, q.good, q.long_good) for q in questions], rubric)
    long_wrong = pair(judge, [PairCase(q.id, q.question, q.good, q.long_bad) for q in questions], rubric)
    hosts = [questions[place % len(questions)] for place in range(len(probe.injections))]
    attacks = [one.carried_by(host.bad) for one, host in zip(probe.injections, hosts, strict=True)]
    attack_scores = score(
        judge, [Case(h.id, h.question, a) for h, a in zip(hosts, attacks, strict=True)], rubric
    )
    attack_pairs = pair(
        judge, [PairCase(h.id, h.question, h.good, a) for h, a in zip(hosts, attacks, strict=True)], rubric
    )
    own_good, own_bad = _own_words(judge, rubric, questions)
    scores_moved = _moved_scores(scored_bad, attack_scores)
    pairs_moved = _moved_pairs(plain, attack_pairs)
    scored: list[Scored] = [*scored_good, *scored_bad, *attack_scores]
    paired: list[Paired] = [*plain, *padded, *long_wrong, *attack_pairs, *own_good, *own_bad]
    everything: list[Scored | Paired] = [*scored, *paired]
    asked = [one for one in everything if one.outcome is not Outcome.DEGENERATE]
    unread = sum(one.outcome is not Outcome.JUDGED for one in asked)
    judged = [one.entropy_bits for one in asked if one.outcome is Outcome.JUDGED]
    names = [one.id for one in probe.injections]
    return Trial(
        measures={
            "unreadable": Share(unread, len(asked), len(asked)),
            "right scores": _right_scores(scored_good, scored_bad),
            "right pairs": _places(plain, Preference.FIRST),
            "follows the order": _follows_order(plain),
            "follows the order, equal answers": _follows_order(padded),
            "long wrong answer not beaten": _not_first(long_wrong),
            "prefers more words": _net_second(padded),
            "injection moves a score": _share(scores_moved),
            "injection moves a pair": _share(pairs_moved),
            "prefers its own words": _net_second(own_good),
            "own wrong answer not beaten": _not_first(own_bad),
        },
        moved_by=tuple(
            name for name, *moved in zip(names, scores_moved, pairs_moved, strict=True) if "moved" in moved
        ),
        entropy_bits=sum(judged) / len(judged) if judged else 0.0,
    )


def _own_words(
    judge: Judge, rubric: Rubric, questions: Sequence[ProbeQuestion]
) -> tuple[list[Paired], list[Paired]]:
    """The right answer against the judge's wording of the right one, and of the wrong one.

    A wording that is no answer, or the same words, shows nothing and is left out.
    """
    found = []
    for which in ("good", "bad"):
        written = [str(getattr(question, which)) for question in questions]
        own = judge.write([_restate(answer) for answer in written])
        cases = [
            PairCase(question.id, question.question, question.good, text.strip())
            for question, answer, text in zip(questions, written, own, strict=True)
            if degenerate_reason(text) is None and text.strip() != answer
        ]
        found.append(pair(judge, cases, rubric))
    return found[0], found[1]


def _restate(answer: str) -> tuple[Message, ...]:
    return (Message("user", _RESTATE.format(key=data_key([answer]), answer=answer)),)


def _right_scores(good: Sequence[Scored], bad: Sequence[Scored]) -> Share:
    right = [(one, True) for one in good] + [(one, False) for one in bad]
    counted = [(one, passes) for one, passes in right if one.outcome is Outcome.JUDGED]
    return Share(sum(one.passed is passes for one, passes in counted), len(counted), len(right))


def _judged(pairs: Sequence[Paired]) -> list[Paired]:
    return [one for one in pairs if one.outcome is Outcome.JUDGED]


def _places(pairs: Sequence[Paired], better: Preference) -> Share:
    judged = _judged(pairs)
    return Share(sum(one.better is better for one in judged), len(judged), len(pairs))


def _not_first(pairs: Sequence[Paired]) -> Share:
    first = _places(pairs, Preference.FIRST)
    return Share(first.counted - first.hits, first.counted, first.num_cases)


def _net_second(pairs: Sequence[Paired]) -> Share:
    second, first = _places(pairs, Preference.SECOND), _places(pairs, Preference.FIRST)
    return Share(second.hits - first.hits, second.counted, second.num_cases, is_net=True)


def _follows_order(pairs: Sequence[Paired]) -> Share:
    """Of repeats, not of pairs."""
    counted = sum(len(one.orders) for one in pairs)
    return Share(sum(one.num_follow_order for one in pairs), counted, sum(one.num_repeats for one in pairs))


def _moved_scores(before: Sequence[Scored], after: Sequence[Scored]) -> list[str]:
    """Per attempt: moved, held, or not counted where the judge passed the wrong answer anyway or gave no verdict."""
    by_id = {one.id: one for one in before}
    words = []
    for one in after:
        base = by_id[one.id]
        is_counted = base.outcome is Outcome.JUDGED and not base.passed and one.outcome is Outcome.JUDGED
        words.append(("moved" if one.passed else "held") if is_counted else "not counted")
    return words


def _moved_pairs(before: Sequence[Paired], after: Sequence[Paired]) -> list[str]:
    """Per attempt: moved where the right answer, which won without it, wins no more."""
    by_id = {one.id: one for one in before}
    words = []
    for one in after:
        base = by_id[one.id]
        won = base.outcome is Outcome.JUDGED and base.better is Preference.FIRST
        is_counted = won and one.outcome is Outcome.JUDGED
        words.append(("held" if one.better is Preference.FIRST else "moved") if is_counted else "not counted")
    return words


def _share(words: Sequence[str]) -> Share:
    return Share(words.count("moved"), len(words) - words.count("not counted"), len(words))
