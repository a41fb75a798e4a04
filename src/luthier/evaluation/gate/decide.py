"""Evidence and a policy -> a verdict. No model, no file, no clock: the same evidence gives the same word.

How the word comes about, the first that holds:
1. `reject`: something is shown that must not be so.
2. `hold`: something else was measured and missed.
3. `not enough evidence`: something was measured, and the items do not suffice to show it either way.
4. `hold`: something that the policy requires was not measured.
5. `ship`.
"""

from collections.abc import Iterator

from luthier.evaluation.gate.evidence import (
    AskedSet,
    Evidence,
    GateVerdict,
    LeakReport,
    Outcome,
    Reason,
    RoutingReport,
    Word,
)
from luthier.evaluation.gate.pairs import Counts, better, count, not_worse
from luthier.evaluation.gate.policy import Judged, Policy
from luthier.evaluation.gate.shares import compliance, forgetting, latency, over_refusal, varied
from luthier.evaluation.judge.report import Fitness, Limits


def evaluate_gate(evidence: Evidence, policy: Policy) -> GateVerdict:
    """Hold the evidence against the policy. Missing evidence is never taken for good news."""
    reasons = tuple(_reasons(evidence, policy))
    return GateVerdict(
        word=_word(reasons),
        reasons=reasons,
        warnings=evidence.warnings,
        candidate=evidence.candidate,
        champion=evidence.champion,
        base=evidence.base,
        sets=tuple(_told(one) for one in evidence.sets),
        policy=policy.model_dump(mode="json"),
        policy_hash=policy.hash,
    )


def _word(reasons: tuple[Reason, ...]) -> Word:
    asked = {(reason.asks_for, reason.outcome) for reason in reasons if reason.asks_for}
    words = {word for word, _ in asked}
    if Word.REJECT in words:
        return Word.REJECT
    if (Word.HOLD, Outcome.MISSED) in asked:
        return Word.HOLD
    if Word.NOT_ENOUGH in words:
        return Word.NOT_ENOUGH
    return Word.HOLD if words else Word.SHIP


def _reasons(evidence: Evidence, policy: Policy) -> Iterator[Reason]:
    confidence, domain = policy.confidence, evidence.of("domain")
    golden, general, ordinary = (evidence.of(role) for role in ("golden", "general", "ordinary"))
    if not domain:
        yield _not_measured("domain", True, "no domain items were asked; without them nothing is better")
    else:
        same = evidence.candidate.hash == evidence.champion.hash
        yield better(count(domain), policy.domain.margin, confidence, criterion="domain", same=same)
    if golden:
        yield not_worse(count(golden), policy.golden.margin, confidence, criterion="golden")
    else:
        yield _not_measured("golden", policy.golden.required, "no golden set was given (--golden FILE)")
    if domain:
        yield compliance((*domain, *golden), policy.format, confidence)
        if policy.same_answer.at_most is not None:
            yield varied(domain, policy.same_answer.at_most)
    if general:
        yield forgetting(general, policy.forgetting, confidence)
    else:
        yield _not_measured(
            "forgetting", policy.forgetting.required, "no base is known to compare with (--base)"
        )
    yield from _others(evidence, policy)
    if ordinary:
        yield over_refusal(ordinary, policy.over_refusal, confidence)
    else:
        yield _not_measured("over_refusal", policy.over_refusal.required, "no ordinary questions were asked")
    if policy.latency.p95_seconds is not None:
        yield latency(evidence.seconds, policy.latency.p95_seconds)
    yield _untouched(evidence)
    yield _leaks(evidence.leaks, policy)
    if evidence.routing is not None or policy.routing.required:
        yield _routing(evidence.routing, policy)
    for judged in policy.judged:
        yield _judged(evidence, judged, confidence)


def _not_measured(criterion: str, required: bool, text: str) -> Reason:
    return Reason(criterion, Outcome.NOT_MEASURED, text, asks_for=Word.HOLD if required else None)


def _others(evidence: Evidence, policy: Policy) -> Iterator[Reason]:
    sets, unasked = evidence.of("others"), evidence.unasked_others or {}
    for name in dict.fromkeys(one.name for one in sets):
        own = [one for one in sets if one.name == name]
        yield not_worse(count(own), policy.others.margin, policy.confidence, criterion=f"others: {name}")
    for name, why in unasked.items():
        yield _not_measured(f"others: {name}", policy.others.required, why)
    if not sets and not unasked:
        yield Reason("others", Outcome.MET, "there is no other specialist", 0)


def _untouched(evidence: Evidence) -> Reason:
    changed = [one for one in evidence.sets if one.before is not None and one.before != one.hash]
    known = sum(one.before is not None for one in evidence.sets)
    if changed:
        text = "; ".join(
            f"{one.path} was {_short(one.before)} when first used and is {_short(one.hash)}"
            for one in changed
        )
        text += "; give changed items another name"
        return Reason("untouched", Outcome.MISSED, text, len(changed), 0, Word.HOLD)
    text = f"{known} of {len(evidence.sets)} evaluation sets were used before and are as they were; the others are new"
    return Reason("untouched", Outcome.MET, text, 0, 0)


def _leaks(found: LeakReport | str, policy: Policy) -> Reason:
    if isinstance(found, str):
        return _not_measured("leaks", policy.leaks.required, found)
    near = found.near / found.num_items if found.num_items else 0.0
    text = (
        f"{found.exact} of {found.num_items} items are asked in training too, {found.near} nearly ({near:.1%}, at most "
        f"{policy.leaks.near_at_most:.1%}); training files: {', '.join(found.train)}"
    )
    if found.exact or near > policy.leaks.near_at_most:
        text += ". Scores on them show memory; luthier data check TRAIN --test ITEMS --full names them"
        return Reason("leaks", Outcome.MISSED, text, found.exact, 0, Word.HOLD)
    return Reason("leaks", Outcome.MET, text, found.exact, 0)


def _routing(found: RoutingReport | None, policy: Policy) -> Reason:
    if found is None:
        return _not_measured(
            "routing", policy.routing.required, "no router was measured (--router, --next-router)"
        )
    if found.harm:
        return Reason("routing", Outcome.MISSED, "; ".join(found.harm), len(found.harm), 0, Word.HOLD)
    text = f"on {found.num_questions} questions nobody who was there before loses any to the candidate"
    return Reason("routing", Outcome.MET, text, 0, 0)


def _judged(evidence: Evidence, policy: Judged, confidence: float) -> Reason:
    name = f"judged: {policy.criterion}"
    found = (evidence.judged or {}).get(policy.criterion)
    if found is None:
        return _not_measured(name, policy.required, "no judge was asked")
    if found.word is not Fitness.FIT:
        text = (
            f"the judge {found.judge} is {found.word.value} with this rubric and these settings, so it decides "
            "nothing; test it: luthier judge test"
        )
        return _not_measured(name, policy.required, text)
    num_pairs = found.num_decided + found.num_left_out
    if found.num_left_out > Limits().max_unreadable * num_pairs:
        text = f"{found.judge} gave no verdict on {found.num_left_out} of {num_pairs} pairs, so the others say nothing"
        return _not_measured(name, policy.required, text)
    counts = Counts(found.wins, found.losses, found.num_decided)
    if policy.require == "better":
        return better(counts, 0.0, confidence, criterion=name)
    return not_worse(counts, policy.margin, confidence, criterion=name)


def _told(one: AskedSet) -> dict[str, object]:
    right = {"candidate": one.candidate.accuracy, "against": one.against.accuracy if one.against else None}
    named = {"role": one.role, "name": one.name, "path": one.path, "hash": one.hash}
    return {**named, "num_items": len(one.candidate.items), **right}


def _short(id: str | None) -> str:
    return (id or "").removeprefix("sha256:")[:12]
