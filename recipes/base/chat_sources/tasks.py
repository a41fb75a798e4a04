# ruff: noqa: E501, SIM905
"""Small jobs on words and numbers whose right answer is computed. Knows nothing of facts or system prompts."""

from __future__ import annotations

from random import Random

from .grammar import Exchange, pick, sentence, series
from .knowledge_tables import CATEGORIES, OPPOSITES
from .reading_domains import PEOPLE, coined, place

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
_ADJ = [word for pair in OPPOSITES[:24] for word in pair]
_NOUNS = [w for c in ("fruits", "animals", "birds", "tools", "pieces of furniture", "clothes", "vehicles", "flowers") for w in CATEGORIES[c]]
_VERBS = (("sees", "see"), ("buys", "buy"), ("paints", "paint"), ("likes", "like"), ("carries", "carry"), ("finds", "find"), ("sells", "sell"), ("keeps", "keep"), ("draws", "draw"), ("wants", "want"))
_PLACES = "in the garden,at home,near the river,in the city,on the hill,at the market,in the morning,after school,every day,behind the house,by the sea,on Sunday".split(",")


def phrase(rng: Random) -> str:
    """A short plain sentence without its end mark."""
    return f"{rng.choice(PEOPLE)} {rng.choice(_VERBS)[0]} {rng.choice(('the', 'a', 'the'))} {rng.choice(('old', 'small', 'red', 'new', 'big', 'white', 'green', 'nice'))} {rng.choice(_NOUNS)} {rng.choice(_PLACES)}"


def _words(rng: Random, low: int, high: int) -> list[str]:
    return rng.sample(_NOUNS, rng.randint(low, high))


def repeat(rng: Random) -> list[Exchange]:
    text = rng.choice((phrase(rng), " ".join(_words(rng, 2, 5)), place(rng), coined(rng), str(rng.randint(10, 99999)), f"{coined(rng)} {coined(rng)}"))
    text = sentence(text) if text.count(" ") > 4 else text
    question = pick(rng, ("repeat [this|after me|the following]: {t}", "say {t}", "please [say|write|repeat]: {t}", "write this [again|once more]: {t}", "copy this[ text|]: {t}", "can you repeat this? {t}", "say exactly this: {t}", "echo: {t}"), t="\0")
    return [Exchange(question[0].upper() + question[1:].replace("\0", text), text, text)]


def case(rng: Random) -> list[Exchange]:
    text = " ".join(_words(rng, 1, 3))
    upper = rng.random() < 0.6
    shown = text if upper else text.upper()
    name = "capital letters" if upper else "small letters"
    question = pick(rng, (f"write {{t}} in {name}.", f"put this in {name}: {{t}}", f"{{t}} in {name}, please.", f"change {{t}} to {name}.", f"can you write {{t}} in {name}?", f"make this {'upper' if upper else 'lower'} case: {{t}}"), t=shown)
    return [Exchange(question[0].upper() + question[1:], text.upper() if upper else text, text.upper() if upper else text)]


def letters(rng: Random) -> list[Exchange]:
    word = rng.choice(_NOUNS)
    kind = rng.choice(("count", "first", "last", "spell", "spell", "backwards", "words"))
    if kind == "count":
        number = NUMBERS[len(word)] if len(word) < 21 else str(len(word))
        q = pick(rng, ("how many letters [are there in|are in] the word {w}?", "how many letters does {w} have?", "count the letters in {w}.", "how long is the word {w}?"), w=word)
        return [Exchange(sentence(q), f"The word {word} has {number} letters.", number.capitalize())]
    if kind in ("first", "last"):
        letter = word[0 if kind == "first" else -1]
        q = pick(rng, ("what is the {k} letter of {w}?", "which letter is the {k} one in {w}?", "with which letter does {w} {v}?", "{k} letter of {w}?", "tell me the {k} letter of the word {w}."), k=kind, w=word, v="begin" if kind == "first" else "end")
        return [Exchange(sentence(q), f"The {kind} letter of {word} is {letter}.", letter)]
    if kind == "spell":
        q = pick(rng, ("spell {w}.", "how do you spell {w}?", "please spell the word {w}.", "can you spell {w}[ for me|]?", "spell the word {w}, letter by letter."), w=word)
        return [Exchange(sentence(q), "-".join(word), "-".join(word))]
    if kind == "backwards":
        word = word[:5]
        items = _words(rng, 3, 4)
        q = pick(rng, ("turn this list around: {w}.", "write these words in reverse order: {w}.", "reverse the order: {w}.", "say these from last to first: {w}."), w=", ".join(items))
        return [Exchange(sentence(q), ", ".join(reversed(items)), ", ".join(reversed(items)))]
    text = phrase(rng)
    count = len(text.split())
    q = pick(rng, ("how many words are in this sentence? {w}.", "count the words: {w}.", "how many words has this sentence: {w}?"), w=text)
    return [Exchange(sentence(q), f"The sentence has {NUMBERS[count]} words.", NUMBERS[count].capitalize())]


def order(rng: Random) -> list[Exchange]:
    kind = rng.choice(("alphabet", "numbers", "biggest", "smallest", "which", "first", "member"))
    if kind == "alphabet":
        items = _words(rng, 3, 5)
        q = pick(rng, ("sort these words by the alphabet: {l}.", "put these words in alphabetical order: {l}.", "order these words from a to z: {l}.", "alphabetical order, please: {l}."), l=", ".join(items))
        return [Exchange(sentence(q), sentence(series(sorted(items))), ", ".join(sorted(items)))]
    if kind in ("first", "member"):
        items = _words(rng, 3, 5)
        at = rng.choice((0, 1, 2, -1))
        name = {0: "first", 1: "second", 2: "third", -1: "last"}[at]
        q = pick(rng, ("which word is {n} in this list: {l}?", "what is the {n} word here: {l}?", "{l}. what is the {n} word?", "give me the {n} word of this list: {l}.", "look at this list: {l}. which word comes {n}?"), n=name, l=", ".join(items))
        return [Exchange(sentence(q), f"The {name} word is {items[at]}.", items[at].capitalize())]
    numbers = rng.sample(range(1, 100), 2 if kind == "which" else rng.randint(3, 5))
    listed = ", ".join(map(str, numbers))
    if kind == "numbers":
        q = pick(rng, ("sort these numbers: {l}.", "put these numbers in order, from small to large: {l}.", "order the numbers {l}.", "from smallest to largest: {l}."), l=listed)
        return [Exchange(sentence(q), ", ".join(map(str, sorted(numbers))), ", ".join(map(str, sorted(numbers))))]
    if kind == "which":
        big = rng.random() < 0.6
        word, value = ("larger", max(numbers)) if big else ("smaller", min(numbers))
        q = pick(rng, ("which is {w}, {a} or {b}?", "which number is {w}: {a} or {b}?", "is {a} or {b} the {w} number?", "{a} or {b}: which one is {w}?"), w=word, a=numbers[0], b=numbers[1])
        return [Exchange(sentence(q), f"{value} is {word}.", str(value))]
    value = max(numbers) if kind == "biggest" else min(numbers)
    name = "largest" if kind == "biggest" else "smallest"
    q = pick(rng, ("which of these numbers is the {n}: {l}?", "what is the {n} number here: {l}?", "find the {n} number: {l}.", "{l}: which is the {n}?"), n=name, l=listed)
    return [Exchange(sentence(q), f"The {name} number is {value}.", str(value))]


def sums(rng: Random) -> list[Exchange]:
    out = []
    for index in range(rng.choice((1, 1, 2))):
        sign = rng.choice("++--*")
        a, b = rng.randint(1, 20), rng.randint(1, 20)
        if sign == "*":
            a, b = rng.randint(2, 10), rng.randint(2, 10)
        if sign == "-":
            a, b = max(a, b), min(a, b)
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        word = {"+": "plus", "-": "minus", "*": "times"}[sign]
        spelled = rng.random() < 0.25 and max(a, b) <= 20 and value <= 20
        if spelled:
            x, y, v = NUMBERS[a], NUMBERS[b], NUMBERS[value]
        else:
            x, y, v = str(a), str(b), str(value)
        q = pick(rng, ("what is {x} {w} {y}?", "how much is {x} {w} {y}?", "{x} {w} {y}?", "{x} {s} {y} = ?", "calculate {x} {s} {y}.", "can you work out {x} {w} {y}?", "please tell me what {x} {w} {y} is.", "work out {x} {s} {y}."), x=x, y=y, w=word, s=sign)
        if index:
            q = pick(rng, ("and {x} {w} {y}?", "what about {x} {w} {y}?", "now {x} {w} {y}."), x=x, y=y, w=word)
        answer = sentence(f"{x} {word} {y} is {v}") if spelled or rng.random() < 0.6 else f"{x} {sign} {y} = {v}."
        out.append(Exchange(sentence(q), answer, v.capitalize()))
    return out


def story_sums(rng: Random) -> list[Exchange]:
    who, thing = rng.choice(PEOPLE), rng.choice("apples pencils books coins stamps eggs cards plums shells buttons".split())
    a, b = rng.randint(2, 15), rng.randint(2, 12)
    if rng.random() < 0.5:
        q = pick(rng, ("{n} has {a} {t} and gets {b} more. how many {t} does {n} have now?", "{n} finds {a} {t} and buys {b} more. how many {t} is that?", "there are {a} {t} in a bag. {n} puts in {b} more. how many are there now?"), n=who, t=thing, a=a, b=b)
        return [Exchange(sentence(q), f"{a} + {b} = {a + b}, so the answer is {a + b} {thing}.", str(a + b))]
    a += b
    q = pick(rng, ("{n} has {a} {t} and gives away {b}. how many {t} are left?", "{n} had {a} {t} and lost {b}. how many {t} does {n} still have?", "there are {a} {t} on a table. {n} takes {b}. how many are left?"), n=who, t=thing, a=a, b=b)
    return [Exchange(sentence(q), f"{a} - {b} = {a - b}, so {a - b} {thing} are left.", str(a - b))]


def numerals(rng: Random) -> list[Exchange]:
    at = rng.randint(1, 20)
    kind = rng.choice(("word", "digit", "next", "before"))
    if kind == "word":
        return [Exchange(sentence(pick(rng, ("write {n} as a word.", "how do you write {n} in words?", "{n} in words, please."), n=at)), NUMBERS[at].capitalize() + ".", NUMBERS[at].capitalize())]
    if kind == "digit":
        return [Exchange(sentence(pick(rng, ("write {n} as a number.", "which number is {n} in digits?", "write {n} in digits."), n=NUMBERS[at])), f"{at}", str(at))]
    at = rng.randint(2, 200)
    step, name = (1, "after") if kind == "next" else (-1, "before")
    return [Exchange(sentence(pick(rng, ("which number comes {w} {n}?", "what number comes {w} {n}?", "what comes {w} {n}?", "tell me the number {w} {n}."), w=name, n=at)), f"{at + step} comes {name} {at}.", str(at + step))]


def rewrite(rng: Random) -> list[Exchange]:
    who, (third, base) = rng.choice(PEOPLE), rng.choice(_VERBS)
    thing, where = rng.choice(_NOUNS), rng.choice(_PLACES)
    long = f"{who} {third} a {rng.choice(('big', 'small', 'red', 'new'))} {thing} {where}."
    kind = rng.choice(("question", "shorter", "negative", "name", "polite", "blank", "who", "where", "what"))
    if kind == "question":
        return [Exchange(pick(rng, ("Turn this into a question: ", "Make a question of this: ", "Write this as a question: ")) + f"{who} {third} the {thing}.", f"Does {who} {base} the {thing}?")]
    if kind == "negative":
        return [Exchange(pick(rng, ("Say the contrary: ", "Make this sentence negative: ", "Put \"not\" into this sentence: ")) + f"{who} {third} the {thing}.", f"{who} does not {base} the {thing}.")]
    if kind == "shorter":
        short = f"{who} {third} a {thing}."
        return [Exchange(pick(rng, ("Make this shorter: ", "Say this in fewer words: ", "Rewrite this so that it is short: ", "Shorten this sentence: ", "Can you make this sentence shorter? ")) + long, short, short)]
    if kind == "name":
        new = rng.choice([n for n in PEOPLE if n != who])
        return [Exchange(pick(rng, ("Change {a} to {b}: ", "Write {b} instead of {a}: ", "Put {b} in the place of {a}: "), a=who, b=new) + long, long.replace(who, new), long.replace(who, new))]
    if kind == "polite":
        return [Exchange(pick(rng, ("Make this polite: ", "Say this politely: ", "Rewrite this in a friendly way: ")) + f"Give me the {thing}.", f"Could you please give me the {thing}?")]
    if kind == "blank":
        left, right = rng.choice(OPPOSITES)
        return [Exchange(sentence(pick(rng, ("fill the gap: the opposite of {a} is ___.", "complete this: {a} is the opposite of ___.", "which word is missing? {a} and ___ are opposites."), a=left)), right.capitalize() + ".", right.capitalize())]
    asked, answer = {"who": (f"Who {third} it?", who), "where": ("What does the last part of the sentence say?", where), "what": (f"What does {who} {base}?", f"{article_of(long, thing)}")}[kind]
    return [Exchange(f"{long} {asked}", sentence(f"{who} {third} it" if kind == "who" else answer if kind == "where" else f"{who} {third} {answer}"), sentence(answer).rstrip("."))]


def article_of(text: str, thing: str) -> str:
    """The piece `a red hat` of the sentence."""
    start = text.index(" a ") + 1
    return text[start : text.index(thing) + len(thing)]


def compose_sentence(rng: Random) -> list[Exchange]:
    thing = rng.choice(_NOUNS)
    q = pick(rng, ("write a [short |]sentence with the word {t}.", "use the word {t} in a sentence.", "make a sentence with {t}.", "can you write one sentence about a {t}?", "i need a sentence with the word {t} in it."), t=thing)
    answer = pick(rng, ("{n} {v} the {t} {p}.", "the {t} is {a}.", "there is a {t} {p}.", "my friend {n} {v} the {t}."), n=rng.choice(PEOPLE), v=rng.choice(_VERBS)[0], t=thing, p=rng.choice(_PLACES[:6]), a=rng.choice(("small", "old", "new", "very nice", "not far away")))
    return [Exchange(sentence(q), sentence(answer))]


TASKS = (repeat, repeat, case, letters, letters, order, order, sums, sums, story_sums, numerals, rewrite, rewrite, compose_sentence)
