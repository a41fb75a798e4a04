# ruff: noqa: E501
"""Kinds of made-up facts for reading tasks: how each is stated, asked and answered. Knows nothing of dialogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Value = Callable[[Random], str]

# A demonstration elsewhere teaches these measures of a playing field, so no court or field here may carry them.
RESERVED_FIELD_NUMBERS = frozenset({3, 6, 10, 11, 13, 16, 20, 40, 50, 68, 100, 112, 116, 118, 120, 122})


@dataclass(frozen=True, slots=True)
class Attribute:
    """One property: sentence patterns over {x} (the thing) and {v} (the value), without end marks."""

    key: str
    states: tuple[str, ...]
    asks: tuple[str, ...]
    clauses: tuple[str, ...]
    answers: tuple[str, ...]
    value: Value
    label: str
    again: tuple[str, ...] = ()


def whole(low: int, high: int, step: int = 1) -> Value:
    return lambda rng: f"{rng.randrange(low, high + 1, step):,}"


def measure(low: float, high: float, unit: str, *, reserved: bool = False) -> Value:
    """A quantity with its unit: mostly exact, sometimes a range, a bound or an estimate."""

    def number(rng: Random) -> float:
        while True:
            value = rng.uniform(low, high)
            value = round(value, 1) if high <= 30 and rng.random() < 0.4 else round(value)
            if value > 1 and not (reserved and (value in RESERVED_FIELD_NUMBERS or value == 5.5)):
                return value

    def make(rng: Random) -> str:
        first = number(rng)
        roll = rng.random()
        if roll < 0.08:
            second = number(rng)
            if first != second:
                low_, high_ = sorted((first, second))
                joined = f"between {low_:g} and {high_:g}" if rng.random() < 0.6 else f"{low_:g} to {high_:g}"
                return f"{joined} {unit}"
        bound = "about " if roll < 0.12 else "at least " if roll < 0.17 else "at most " if roll < 0.20 else ""
        return f"{bound}{first:g} {unit}"

    return make


def choice(words: str) -> Value:
    options = words.split(",")
    return lambda rng: rng.choice(options).strip()


def clock(rng: Random) -> str:
    style = rng.random()
    hour, minute = rng.randint(1, 12), rng.choice((0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 12, 37, 48))
    if style < 0.5:
        return f"{hour}:{minute:02d}"
    if style < 0.75:
        return f"{hour + rng.choice((0, 11)):02d}:{minute:02d}"
    return f"{hour} {rng.choice(('o' + chr(39) + 'clock', 'in the morning', 'in the afternoon'))}"


def price(low: int, high: int) -> Value:
    def make(rng: Random) -> str:
        amount = rng.randint(low, high)
        style = rng.random()
        if style < 0.4:
            return f"${amount}" if rng.random() < 0.6 else f"${amount}.{rng.choice(('50', '25', '75', '99', '20'))}"
        return f"{amount} {rng.choice(('dollars', 'euros', 'pounds', 'coins'))}" if amount > 1 else "$1"

    return make


def dimension(adjective: str, noun: str, value: Value) -> Attribute:
    return Attribute(
        noun,
        (f"{{x}} is {{v}} {adjective}", f"the {noun} of {{x}} is {{v}}", f"{{x}} has a {noun} of {{v}}",
         f"{{x}} measures {{v}} in {noun}"),
        (f"how {adjective} is {{x}}", f"what is the {noun} of {{x}}", f"what {noun} does {{x}} have",
         f"how many {{u}} {adjective} is {{x}}"),
        (f"how {adjective} {{x}} is", f"what the {noun} of {{x}} is"),
        (f"{{x}} is {{v}} {adjective}", f"it is {{v}} {adjective}", f"the {noun} of {{x}} is {{v}}", f"{{x}} is {{v}} {adjective}"),
        value, noun, (f"and how {adjective} is it", f"and the {noun}", f"how {adjective} is it"),
    )


def part(name: str, adjective: str, noun: str, value: Value) -> Attribute:
    """A measure of a part of the thing: the height of its door."""
    return Attribute(
        f"{name} {noun}",
        (f"the {name} of {{x}} is {{v}} {adjective}", f"{{x}} has a {name} that is {{v}} {adjective}",
         f"the {noun} of the {name} is {{v}}", f"the {name} is {{v}} {adjective}"),
        (f"how {adjective} is the {name} of {{x}}", f"how {adjective} is the {name}", f"what is the {noun} of the {name}",
         f"what {noun} does the {name} have"),
        (f"how {adjective} the {name} of {{x}} is", f"how {adjective} the {name} is", f"what the {noun} of the {name} is"),
        (f"the {name} of {{x}} is {{v}} {adjective}", f"the {name} is {{v}} {adjective}", f"it is {{v}} {adjective}"),
        value, f"{name} {noun}", (f"and how {adjective} is the {name}", f"and the {name}"),
    )


def apart(name: str, value: Value) -> Attribute:
    """The distance between two like things that belong to the thing."""
    return Attribute(
        f"{name} gap",
        (f"the {name} of {{x}} are {{v}} apart", f"the {name} stand {{v}} apart", f"the distance between the {name} is {{v}}",
         f"in {{x}}, the {name} are {{v}} from each other"),
        (f"how far apart are the {name} of {{x}}", f"how far apart are the {name}", f"what is the distance between the {name}",
         f"how far is it between the {name}"),
        (f"how far apart the {name} are", f"how far it is between the {name} of {{x}}"),
        (f"the {name} are {{v}} apart", f"the {name} of {{x}} are {{v}} apart", "they are {v} apart"),
        value, f"distance between the {name}", (f"and how far apart are the {name}", f"and the distance between the {name}"),
    )


def count(noun: str, value: Value, verb: str = "have") -> Attribute:
    third = {"have": "has", "hold": "holds", "contain": "contains", "need": "needs", "employ": "employs", "carry": "carries",
             "use": "uses", "sell": "sells", "serve": "serves"}[verb]
    inside = ((f"there are {{v}} {noun} in {{x}}",), (f"how many {noun} are there in {{x}}",)) if verb in ("have", "hold", "contain") and noun not in ("children", "brothers", "stops", "legs", "teeth", "lifeboats", "players") \
        else ((), ())
    return Attribute(
        noun,
        (f"{{x}} {third} {{v}} {noun}", f"{{x}} {third} {{v}} {noun}", *inside[0]),
        (f"how many {noun} does {{x}} {verb}", f"how many {noun} does {{x}} {verb}", f"what number of {noun} does {{x}} {verb}",
         *inside[1]),
        (f"how many {noun} {{x}} {third}",),
        (f"{{x}} {third} {{v}} {noun}", f"it {third} {{v}} {noun}", f"{{x}} {third} {{v}} {noun}"),
        value, f"number of {noun}", (f"and how many {noun}", f"how many {noun} does it {verb}"),
    )


def happened(verb: str, key: str = "") -> Attribute:
    """Something done to the thing in a year: built, opened, painted."""
    return Attribute(
        f"{verb} in",
        (f"{{x}} was {verb} in {{v}}", f"it was in {{v}} that {{x}} was {verb}"),
        (f"when was {{x}} {verb}", f"in which year was {{x}} {verb}", f"in what year was {{x}} {verb}", f"what year was {{x}} {verb}"),
        (f"when {{x}} was {verb}", f"in which year {{x}} was {verb}"),
        (f"{{x}} was {verb} in {{v}}", f"it was {verb} in {{v}}", "in {v}"),
        lambda rng: str(rng.randint(1502, 2021)), key or f"year it was {verb}", (f"and when was it {verb}", f"when was it {verb}"),
    )


def simple(key: str, state: str, asked: str, clause: str, answer: str, value: Value, again: str = "") -> Attribute:
    """An attribute from `/`-separated alternatives, where no common pattern serves."""
    cut = lambda text: tuple(piece.strip() for piece in text.split("/"))  # noqa: E731
    return Attribute(key, cut(state), cut(asked), cut(clause), cut(answer), value, key, cut(again) if again else ())


def cost(low: int, high: int) -> Attribute:
    return simple("price", "{x} costs {v} / the price of {x} is {v} / you pay {v} for {x}",
                  "how much does {x} cost / what does {x} cost / what is the price of {x} / how much is {x} / how much do i pay for {x}",
                  "how much {x} costs / what {x} costs / what the price of {x} is", "{x} costs {v} / it costs {v} / the price of {x} is {v}",
                  price(low, high), "and how much does it cost / what does it cost")


def weight(low: float, high: float, unit: str = "kilograms") -> Attribute:
    return simple("weight", "{x} weighs {v} / the weight of {x} is {v} / {x} has a weight of {v}",
                  "how much does {x} weigh / what is the weight of {x} / how heavy is {x} / what does {x} weigh",
                  "how much {x} weighs / how heavy {x} is / what the weight of {x} is", "{x} weighs {v} / it weighs {v} / the weight of {x} is {v}",
                  measure(low, high, unit), "and how much does it weigh / how heavy is it")


def colour() -> Attribute:
    return simple("colour", "{x} is {v} / the colour of {x} is {v}", "what colour is {x} / what is the colour of {x} / which colour is {x}",
                  "what colour {x} is / which colour {x} is", "{x} is {v} / it is {v} / the colour of {x} is {v}",
                  choice("red,blue,green,yellow,white,black,brown,grey,purple,orange,pink,silver"), "and what colour is it")
