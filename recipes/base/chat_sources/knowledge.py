# ruff: noqa: E501, SIM905
"""Exchanges on common knowledge, with follow-ups. Knows the tables; knows nothing of system prompts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .grammar import Exchange, article, ask, expand, pick, sentence, series
from .knowledge_tables import (
    ANIMALS,
    CATEGORIES,
    COLOURS,
    COUNTRIES,
    DEFINITIONS,
    FACTS,
    OPPOSITES,
    PASTS,
    PLURALS,
)

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
Maker = Callable[[Random], list[Exchange]]


def _say(rng: Random, direct: str, clause: str, answer: str, short: str | None = None) -> Exchange:
    return Exchange(ask(rng, expand(rng, direct), expand(rng, clause)), sentence(expand(rng, answer)), short)


def countries(rng: Random) -> list[Exchange]:
    """Capital, continent or language of one to three countries, the later ones by a follow-up."""
    chosen = rng.sample(COUNTRIES, rng.choice((1, 1, 2, 3)))
    kind = rng.choice(("capital", "capital", "capital", "continent", "language", "reverse"))
    out = []
    for index, (country, capital, continent, language, _) in enumerate(chosen):
        short = {"capital": capital, "continent": continent, "language": language, "reverse": country}[kind]
        answer = {
            "capital": f"[the capital of {country} is {capital}|{capital} is the capital of {country}]", "continent": f"{country} is in {continent}",
            "language": f"[the main language of {country} is {language}|in {country}, many people speak {language}]", "reverse": f"{capital} is [the capital of|in] {country}",
        }[kind]
        direct, clause = {
            "capital": (f"[what is|which city is] the capital of {country}", f"[what the capital of {country} is|the capital of {country}]"),
            "continent": (f"[on which continent is {country}|where is {country}|in which part of the world is {country}]", f"[where {country} is|on which continent {country} is]"),
            "language": (f"[which|what] language do people speak in {country}", f"which language people speak in {country}"),
            "reverse": (f"[in which country is {capital}|which country has the capital {capital}|where is {capital}]", f"in which country {capital} is"),
        }[kind]
        if index:
            name = capital if kind == "reverse" else country
            follow = pick(rng, ("and {n}?", "what about {n}?", "and what about {n}?", "how about {n}?") + (("and of {n}?",) if kind == "capital" else ()), n=name)
            out.append(Exchange(sentence(follow), sentence(expand(rng, answer)), short))
        else:
            out.append(_say(rng, direct, clause, answer, short))
    return out


def animals(rng: Random) -> list[Exchange]:
    out = []
    for name, kind, legs, home, young, food, sound in rng.sample(ANIMALS, rng.choice((1, 1, 2))):
        a = article(name)
        options = [
            (f"[what kind of animal is {a}|is {a} a mammal, a bird, a fish or something else]", f"what kind of animal {a} is", f"{a} is {article(kind)}", kind.capitalize()),
            (f"how many legs does {a} have", f"how many legs {a} has", f"{a} has {legs} legs", legs.capitalize()),
            (f"where does {a} live", f"where {a} lives", f"{a} lives {home}", home.capitalize()), (f"what does {a} eat", f"what {a} eats", f"{a} eats {food}", food.capitalize()),
            (f"[is {a} {article(kind)}|is it true that {a} is {article(kind)}]", f"if {a} is {article(kind)}", f"yes, {a} is {article(kind)}", "Yes"),
        ]
        if kind != "bird":
            options.append((f"is {a} a bird", f"if {a} is a bird", f"no, {a} is not a bird. it is {article(kind)}", "No"))
        if young != "-":
            options.append((f"[what is a young {name} called|what do we call a young {name}|what is the name for a baby {name}]", f"what a young {name} is called", f"a young {name} is called {article(young)}", young.capitalize()))
        if sound != "-":
            options.append((f"what sound does {a} make", f"what sound {a} makes", f"the sound that {a} makes is called a {sound}", f"A {sound}"))
        out += [_say(rng, *option) for option in rng.sample(options, rng.choice((1, 1, 2)))]
    return out


def colours(rng: Random) -> list[Exchange]:
    rows = rng.sample(COLOURS, rng.choice((1, 2)))
    return [_say(rng, f"what [colour is {t}|is the colour of {t}|color is {t}]", f"what colour {t} is", f"{t} is {c}", c.capitalize()) for t, c in rows]


def words(rng: Random) -> list[Exchange]:
    """Opposites, plurals and past forms, with follow-ups."""
    table, name = rng.choice(((OPPOSITES, "opposite"), (PLURALS, "plural"), (PASTS, "past tense")))
    out = []
    for index, (word, other) in enumerate(rng.sample(table, rng.choice((1, 1, 2, 3)))):
        if name == "opposite" and rng.random() < 0.5:
            word, other = other, word
        if index:
            out.append(Exchange(sentence(pick(rng, ("and of {w}?", "and {w}?", "what about {w}?", "now {w}."), w=word)), sentence(f"the {name} of {word} is {other}"), other.capitalize()))
            continue
        question = _say(rng, f"[what is the {name} of {word}|which word is the {name} of {word}]", f"what the {name} of {word} is", f"the {name} of {word} is {other}", other.capitalize())
        if rng.random() < 0.3:
            order = pick(rng, ("give me the {n} of {w}.", "write the {n} of {w}.", "{n} of {w}?", "the {n} of {w}, please.", "i need the {n} of the word {w}."), n=name, w=word)
            question = Exchange(sentence(order), question.answer, question.short)
        out.append(question)
    return out


def calendar(rng: Random) -> list[Exchange]:
    if rng.random() < 0.25:
        at = rng.randrange(12)
        text = f"{MONTHS[at]} has {LENGTHS[at]} days" + (", and 29 in a leap year" if at == 1 else "")
        return [_say(rng, f"how many days does {MONTHS[at]} have", f"how many days {MONTHS[at]} has", text, str(LENGTHS[at]))]
    names, kind = rng.choice(((DAYS, "day"), (MONTHS, "month")))
    out = []
    at, step = rng.randrange(len(names)), rng.choice((1, 1, -1))
    word = "after" if step == 1 else "before"
    for index in range(rng.choice((1, 1, 2, 3))):
        here, there = names[at % len(names)], names[(at + step) % len(names)]
        if index:
            out.append(Exchange(pick(rng, (f"And {word} {here}?", f"What comes {word} that?", "And then?" if step == 1 else f"And {word} that?")), f"{there} comes {word} {here}.", there))
        else:
            out.append(_say(rng, f"[which|what] {kind} [comes|is] {word} {here}", f"which {kind} comes {word} {here}", f"{there} comes {word} {here}", there))
        at += step
    return out


def definitions(rng: Random) -> list[Exchange]:
    out = []
    for name, meaning in rng.sample(DEFINITIONS, rng.choice((1, 1, 2))):
        bare = name.startswith(("a ", "an ", "the ")) or name in {"breakfast", "soup", "cheese", "flour", "butter", "honey", "wool", "leather", "glass", "paper", "steam", "ice", "rain", "fog", "stormy", "gravity"}
        thing = name if bare else article(name)
        if rng.random() < 0.25:
            question = pick(rng, ("define {t}.", "explain what {t} is.", "[describe|explain] {t} in one sentence.", "what does the word {w} mean?", "what do we call {m}?"), t=thing, w=name.split(" ")[-1], m=meaning)
            out.append(Exchange(sentence(question), sentence(f"{thing} is {meaning}")))
        else:
            out.append(_say(rng, f"[what is {thing}|what exactly is {thing}]", f"what {thing} is", f"{thing} is {meaning}"))
    return out


def facts(rng: Random) -> list[Exchange]:
    return [_say(rng, *row) for row in rng.sample(FACTS, rng.choice((1, 1, 2)))]


def categories(rng: Random) -> list[Exchange]:
    name = rng.choice(list(CATEGORIES))
    members = list(CATEGORIES[name])
    rng.shuffle(members)
    number, count = rng.choice((("two", 2), ("three", 3), ("three", 3), ("four", 4), ("five", 5)))
    chosen = members[:count]
    question = pick(rng, ("[list|name|give me|tell me|write down] {n} {c}[, please|].", "can you [name|list|give me] {n} {c}?", "i need {n} {c}.", "what are {n} {c}?", "{n} {c}[, please|].", "which {n} {c} can you name?", "please [name|list] {n} {c}.", "do you know {n} {c}?", "think of {n} {c}."), n=number, c=name)
    answer = f"{number} {name} are {series(chosen)}" if rng.random() < 0.4 else series(chosen)
    if rng.random() < 0.15:
        answer = "\n".join(f"{i}. {m[0].upper()}{m[1:]}" for i, m in enumerate(chosen, 1))
        question += pick(rng, (" use a numbered list.", " number them.", " one on each line, with numbers."))
        return [Exchange(sentence(question), answer)]
    out = [Exchange(sentence(question), sentence(answer), series(chosen).capitalize() if name not in ("planets", "countries", "programming languages", "months") else series(chosen))]
    if len(members) > count and rng.random() < 0.35:
        out.append(Exchange(pick(rng, ("One more, please.", "Another one?", "Can you add one more?", "And one more?", "Give me another one.")), sentence(members[count])))
    return out


def belongs(rng: Random) -> list[Exchange]:
    """Is a pear a fruit? Which word does not belong?"""
    first, second = rng.sample(list(CATEGORIES), 2)
    if rng.random() < 0.5:
        inside = list(rng.sample(CATEGORIES[first], 3))
        odd = rng.choice([w for w in CATEGORIES[second] if w not in CATEGORIES[first]])
        listed = [*inside, odd]
        rng.shuffle(listed)
        question = pick(rng, ("which word does not belong: {l}?", "one of these words does not fit: {l}. which one?", "find the odd one out: {l}.", "{l}: which one is different?"), l=series(listed))
        return [Exchange(sentence(question), sentence(f"{odd} does not belong, because the others are {first}"), odd[0].upper() + odd[1:])]
    word = rng.choice(CATEGORIES[first])
    question = pick(rng, ("to which group does {w} belong, {a} or {b}?", "does {w} belong to the {a} or to the {b}?", "{w}: is it among the {a} or among the {b}?"), w=word, a=first if (flip := rng.random() < 0.5) else second, b=second if flip else first)
    if word in CATEGORIES[second]:
        return categories(rng)
    return [Exchange(sentence(question), sentence(f"{word} belongs to the {first}"), first[0].upper() + first[1:])]


KNOWLEDGE: tuple[Maker, ...] = (countries, countries, animals, animals, colours, words, words, calendar, definitions, definitions, facts, facts, facts, categories, categories, belongs)
