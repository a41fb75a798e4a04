# ruff: noqa: E501
"""Reading tasks: facts in the prompt, then questions answered from them, or said not to be there.

Knows the domains only as things with attributes. A task carries its evidence, so a test can hold every answer
against its own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .grammar import Messages, ask, casual, expand, pick, sentence, turns
from .reading_domains import DOMAINS, Domain
from .reading_facts import Attribute

_UNITS = {"metres", "centimetres", "kilometres", "kilograms", "grams", "minutes"}
_SHORT_UNITS = (("centimetres", "cm"), ("kilometres per hour", "km/h"), ("kilometres", "km"), ("metres", "m"), ("kilograms", "kg"),
                ("grams", "g"), ("millilitres", "ml"))
_UNSAID = (
    "the [text|facts|notes] do[es|es] not say {c}.", "i do not know {c}. it is not in the [text|notes].", "that is not in the [text|facts|notes].",
    "i cannot find that in the [text|facts|notes].", "the [text|note] does not mention it.", "the [text|note] does not say {c}.",
    "i do not know. the text does not say {c}.", "there is nothing about that in the [text|notes].",
)
UNSAID_MARKS = ("not say", "not in the", "cannot find", "not mention", "nothing about")

_TOPIC = (
    "you answer questions about {t}. [use only these facts|these are the facts|use these facts|here is what you know]:",
    "you are [a helpful|a friendly|an|a careful] assistant who knows about {t}. [facts|here are the facts|what you know]:",
    "[here are some|these are] [facts|notes] about {t}:", "facts about {t}:", "notes on {t}:", "what we know about {t}:",
    "you help people with questions about {t}. [you know this|you know the following|remember]:",
    "answer [questions about {t}|the questions] from the facts below.", "about {t}:",
    "you work [at the information desk|at the help desk]. people ask you about {t}. [this is what you know|your notes say]:",
)
_PLAIN = (
    "use these facts to answer.", "facts:", "[answer|please answer] from the text[ only|].", "here are some facts.", "text:", "read this.", "notes:",
    "you are a helpful assistant. [use the text to answer|these facts may help you|here is what you know].", "context:",
    "[use|use only] the [following|text below|notes below] to answer the [question|user].", "the following is known.", "information:",
    "answer in one short sentence. use this text:", "you are [a guide|a clerk|a secretary|an assistant]. [your notes|your list]:", "",
)
_USER_OPEN = (
    "read this text: {ctx}{nl}{q}", "{ctx}{nl}{q}", "{ctx}{nl}question: {q}", "text: {ctx}{nl}question: {q}", "here are some facts. {ctx}{nl}{q}",
    "{q}{nl}{ctx}", "{q} [Use this text|Here is the text|This is what I know]: {ctx}", "use the text to answer. {ctx}{nl}{q}",
    "[my notes say|my list says|i read this|somebody wrote]: {ctx}{nl}{q}", "context: {ctx}{nl}{q}",
)
_CONCISE = ("answer with the [number|value] only.", "give only the [value|answer], no sentence.", "answer in as few words as you can.", "[only|just] the value, please.")


@dataclass(frozen=True, slots=True)
class Fact:
    """An attribute of a thing with its value."""

    thing: str
    attribute: Attribute
    value: str


@dataclass(frozen=True, slots=True)
class ReadingTask:
    """A conversation and, for each answer, the strings of the text that it must contain (none: the text does not say)."""

    messages: Messages
    evidence: tuple[tuple[str, ...], ...]


def _unit(value: str) -> str | None:
    last = value.split()[-1]
    return {short: unit for unit, short in _SHORT_UNITS}.get(last, last if last in _UNITS else None)


def _fill(rng: Random, patterns: Sequence[str], fact: Fact, *, named: bool = False, person: bool = False, unit: bool = True) -> str:
    """One fitting pattern: naming the thing where it must, calling no person "it", asking for no unit that is not there."""
    fit = [p for p in patterns if not (named and "{x}" not in p) and not (person and ("it" in p.split()))
           and not ("{u}" in p and (not unit or _unit(fact.value) is None or fact.value.startswith("between")))]
    return expand(rng, rng.choice(fit or patterns), x=fact.thing, v=fact.value, u=_unit(fact.value) or "")


def _facts(rng: Random, domain: Domain, things: Sequence[str], per_thing: int, short_units: bool) -> list[Fact]:
    facts, taken = [], set()
    same = rng.random() < 0.6
    common = rng.sample(domain.attributes, min(per_thing, len(domain.attributes)))
    for thing in things:
        for attribute in common if same else rng.sample(domain.attributes, min(per_thing, len(domain.attributes))):
            for _ in range(8):
                value = attribute.value(rng)
                if (attribute.key, value) not in taken:
                    break
            taken.add((attribute.key, value))
            if short_units:
                for unit, short in _SHORT_UNITS:
                    value = value[: -len(unit)] + short if value.endswith(" " + unit) else value
            facts.append(Fact(thing, attribute, value))
    return facts


def _context(rng: Random, facts: Sequence[Fact], alone: bool, person: bool) -> str:
    style = rng.choice(("prose", "prose", "list", "list", "pairs", "numbered", "lines"))
    lines = []
    for index, fact in enumerate(facts):
        if style == "pairs":
            label = fact.attribute.label if alone else f"{fact.thing}, {fact.attribute.label}"
            lines.append(f"{label[0].upper()}{label[1:]}: {fact.value}")
            continue
        text = _fill(rng, fact.attribute.states, fact, named=not alone)
        if alone and index and not person and text.startswith(fact.thing) and rng.random() < 0.4:
            text = "it" + text[len(fact.thing):]
        lines.append(sentence(text))
    if style == "pairs" and alone:
        lines.insert(0, f"{facts[0].thing[0].upper()}{facts[0].thing[1:]}")
    marks = {"list": "- ", "pairs": rng.choice(("", "- ")), "lines": "", "numbered": None}
    if style == "prose":
        return " ".join(lines)
    mark = marks[style]
    if style == "pairs" and alone:
        return "\n".join([lines[0] + rng.choice(("", ":")), *(f"{mark}{line}" for line in lines[1:])])
    return "\n".join(f"{number}. {line}" if mark is None else mark + line for number, line in enumerate(lines, 1))


def _one(rng: Random, fact: Fact, alone: bool, person: bool, first: bool) -> tuple[str, str]:
    """A question on one fact and its answer in a sentence."""
    if not first and alone and not person and fact.attribute.again and rng.random() < 0.5:
        question = sentence(rng.choice(fact.attribute.again) + "?")
    elif rng.random() < 0.04 and not person:
        question = sentence(f"{fact.attribute.label} of {fact.thing}?")
    else:
        question = ask(rng, _fill(rng, fact.attribute.asks, fact, named=not alone),
                       _fill(rng, fact.attribute.clauses, fact, named=not alone))
    answer = sentence(_fill(rng, fact.attribute.answers, fact, person=person, named=person))
    if rng.random() < 0.06:
        answer = f"{pick(rng, ('According to the text, ', 'The text says that ', 'The notes say that '))}{_lower_first(answer, fact.thing)}"
    return question, answer


def _lower_first(answer: str, thing: str) -> str:
    return answer if thing[0].isupper() and answer.startswith(thing) else answer[0].lower() + answer[1:]


def _unsaid(rng: Random, domain: Domain, facts: Sequence[Fact], things: Sequence[str], person: bool) -> tuple[str, str] | None:
    """A question that the text does not answer: a missing attribute of a thing there, or a thing that is not there."""
    said = {fact.attribute.key for fact in facts}
    missing = [a for a in domain.attributes if a.key not in said]
    if missing and rng.random() < 0.6:
        fact = Fact(rng.choice(things), rng.choice(missing), "")
    else:
        fact = Fact(domain.name(rng), rng.choice(facts).attribute, "")
        if any(fact.thing in thing or thing in fact.thing for thing in things):
            return None
    clause = expand(rng, rng.choice([c for c in fact.attribute.clauses if "{x}" in c] or ["that"]), x=fact.thing)
    direct = [a for a in fact.attribute.asks if "{x}" in a and "{u}" not in a]
    question = ask(rng, expand(rng, rng.choice(direct), x=fact.thing), clause)
    pattern = rng.choice(_UNSAID)
    plural = "facts do" if rng.random() < 0.5 else "text does"
    pattern = pattern.replace("[text|facts|notes] do[es|es]", plural)
    return question, sentence(expand(rng, pattern, c=clause))


def _pair(rng: Random, facts: Sequence[Fact], person: bool) -> tuple[str, str, tuple[str, str]]:
    """A question on two facts of one thing, and both in the answer."""
    first, second = rng.sample(list(facts), 2)
    size = {f.attribute.key: f for f in facts}
    if "length" in size and "width" in size and rng.random() < 0.7:
        first, second = size["length"], size["width"]
        thing = first.thing
        question = pick(rng, ("how big is {x}?", "what size is {x}?", "what is the size of {x}?", "what are the measures of {x}?", "how large is {x}?",
                              "can you tell me how big {x} is?", "how long and how wide is {x}?", "give me the length and the width of {x}."), x=thing)
        return sentence(question), sentence(pick(rng, ("{x} is {a} long and {b} wide.", "it is {a} long and {b} wide."), x=thing, a=first.value, b=second.value)), (first.value, second.value)
    one, two = (_fill(rng, f.attribute.answers, f, named=True, person=person) for f in (first, second))
    asked = (_fill(rng, first.attribute.asks, first), _fill(rng, second.attribute.clauses, second))
    question = pick(rng, ("{a}? and tell me {c}.", "{a}? and can you say {c}?", "i have two questions. {a}? and please tell me {c}."), a=asked[0], c=asked[1])
    if rng.random() < 0.4:
        question = pick(rng, ("tell me two things about {x}.", "what do you know about {x}? say two things.", "give me two facts about {x}.", "say something about {x}."), x=first.thing)
    return sentence(question), f"{sentence(one)} {sentence(two)}", (first.value, second.value)


def compose(rng: Random) -> ReadingTask:
    """One reading task: a domain, one thing with many facts or several things with few, and one to four questions."""
    domain = rng.choice(DOMAINS)
    alone = rng.random() < 0.55
    things: list[str] = []
    for _ in range(40):
        name = domain.name(rng)
        if len(things) < (1 if alone else rng.randint(2, 5)) and not any(name in t or t in name for t in things):
            things.append(name)
    person = domain.kind == "person"
    facts = _facts(rng, domain, things, rng.randint(3, 11) if alone else rng.randint(1, 3), rng.random() < 0.25)
    if rng.random() < 0.6:
        rng.shuffle(facts)
    context = _context(rng, facts, alone, person)
    pairs, evidence = [], []
    asked = rng.sample(facts, min(len(facts), rng.choice((1, 1, 1, 2, 2, 3, 4))))
    concise = rng.random() < 0.12
    for _index, fact in enumerate(asked):
        lost = _unsaid(rng, domain, facts, things, person) if rng.random() < 0.14 else None
        mine = [f for f in facts if f.thing == fact.thing]
        if lost and not concise:
            pairs.append(lost)
            evidence.append(())
        elif len(mine) > 1 and alone and not concise and rng.random() < 0.14:
            question, answer, values = _pair(rng, mine, person)
            pairs.append((question, answer))
            evidence.append(values)
        else:
            question, answer = _one(rng, fact, alone, person, not (evidence and evidence[-1]))
            pairs.append((question, fact.value if concise else answer))
            evidence.append((fact.value,))
    pairs = [(casual(rng, question), answer) for question, answer in pairs]
    return ReadingTask(_place(rng, context, pairs, domain, things, alone, concise), tuple(evidence))


def _place(rng: Random, context: str, pairs: list[tuple[str, str]], domain: Domain, things: Sequence[str], alone: bool, concise: bool) -> Messages:
    """Put the text into the system message or into the first question."""
    demand = sentence(pick(rng, _CONCISE)) if concise else ""
    if rng.random() < 0.68:
        topic = things[0] if alone else {"person": "some people", "goods": "some goods", "village": "some villages", "bus": "the buses", "box": "the boxes"}.get(domain.kind, f"some {domain.kind}s")
        head = pick(rng, _TOPIC, t=topic) if rng.random() < 0.5 else pick(rng, _PLAIN)
        head = sentence(head) if head else ""
        if demand:
            head = f"{demand} {head}".strip()
        joint = "\n" if "\n" in context else rng.choice((" ", "\n"))
        return turns(pairs, f"{head}{joint}{context}" if head else context)
    question = pairs[0][0] if not demand else f"{pairs[0][0]} {demand}"
    breaks = "\n" if "\n" in context else rng.choice(("\n", " ", "\n\n"))
    frame = expand(rng, rng.choice(_USER_OPEN), ctx="\0", nl=breaks, q="\1")
    frame = sentence(frame) if not frame.endswith(("\0", "\1")) else frame[0].upper() + frame[1:]
    inner = f"\n{context}" if "\n" in context and not frame.startswith("\0") and "\n\0" not in frame else context
    opened = frame.replace("\0", inner).replace("\1", question)
    opened = opened.replace(" \n", "\n")
    return turns([(opened, pairs[0][1]), *pairs[1:]])
