"""From a core such as "how wide [is] {field}|" to the many ways in which people would type it.

Knows nothing of rugby league, of splits or of files: phrasebooks hand their cores in.

The notation of a question core: `{slot}` is filled from a table; `[is]` is the verb of the direct question
and `|` the place where it stands in the indirect one ("how wide is it", "how wide it is"). A core with `|`
and no brackets reads the same both ways; a core without `|` has no indirect form.
"""

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """What a core is in grammar, which decides how it may be wrapped."""

    QUESTION = "question"
    NOUN = "noun"
    PLURAL = "plural"
    KEYWORDS = "keywords"
    UTTERANCE = "utterance"


@dataclass(frozen=True, slots=True)
class Core:
    """The part of a question that carries its meaning, with its slots still open. Also called a frame."""

    form: Form
    template: str


@dataclass(frozen=True, slots=True)
class FilledCore:
    """A core with its slots filled: one wording. `slots` keeps what was put in."""

    core: Core
    slots: tuple[tuple[str, str], ...]

    def _fill(self, template: str) -> str:
        for name, value in self.slots:
            template = template.replace("{" + name + "}", value)
        return re.sub(r"\s+", " ", template).strip()

    @property
    def direct(self) -> str:
        """The wording as asked directly, or the noun phrase, keywords or utterance themselves."""
        return self._fill(self.core.template.replace("[", "").replace("]", "").replace("|", ""))

    @property
    def indirect(self) -> str:
        """The wording inside another sentence; empty where the core has no such form."""
        template = self.core.template
        if self.core.form in (Form.NOUN, Form.PLURAL):
            return self.direct
        if "|" not in template:
            return ""
        verb = re.search(r"\[(.+?)\]", template)
        moved = f" {verb.group(1)}" if verb else ""
        return self._fill(re.sub(r"\[.+?\]", "", template).replace("|", moved))


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of one subject by form."""

    questions: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    plurals: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    utterances: tuple[str, ...] = ()

    def all(self) -> list[Core]:
        groups = (
            (Form.QUESTION, self.questions),
            (Form.NOUN, self.nouns),
            (Form.PLURAL, self.plurals),
            (Form.KEYWORDS, self.keywords),
            (Form.UTTERANCE, self.utterances),
        )
        return [Core(form, template) for form, templates in groups for template in templates]


@dataclass(frozen=True, slots=True)
class Phrasebook:
    """The cores of one subject. `valid` and `test` hold frames that no training row uses."""

    train: Cores
    valid: Cores
    test: Cores
    slots: Mapping[str, Sequence[str]]
    contexts: tuple[str, ...] = ()


OPENERS = (
    "Hi,", "Hello,", "Hey,", "Please,", "Sorry,", "Excuse me,", "So,", "Well,", "Quick question:",
    "Question:", "One more thing:", "Just checking:", "Good morning,", "Hello there,",
    "A question for you:", "Tell me,",
)  # fmt: skip

CLOSERS = (", please", ", do you know", " exactly", ", can you say", ", roughly speaking", ", if you know")

INDIRECT_WRAPPERS = (
    "tell me {x}.", "please tell me {x}.", "do you know {x}?", "could you tell me {x}?",
    "can you tell me {x}?", "I want to know {x}.", "I need to know {x}.", "I'd like to know {x}.",
    "I wonder {x}.", "I'm not sure {x}.", "any idea {x}?", "can you say {x}?",
    "my friend asked me {x}.", "let me know {x}.", "remind me {x}.", "I forgot {x}. Can you help?",
    "would you know {x}?", "please say {x}.",
)  # fmt: skip

NOUN_WRAPPERS = (
    "tell me {x}.", "please tell me {x}.", "give me {x}.", "please give me {x}.", "I need {x}.",
    "I need to know {x}.", "could you tell me {x}?", "can you give me {x}?", "do you know {x}?",
    "remind me of {x}.", "can you remind me of {x}?", "I'd like to know {x}.",
    "I'm looking for {x}.", "I forgot {x}. Can you help?", "{x}?", "{x}, please.",
    "what would {x} be?", "I want to know {x}.", "my question is about {x}.", "let me know {x}.",
    "any idea of {x}?", "please say {x}.",
)  # fmt: skip

WHAT_IS = ("what is {x}?", "what's {x}?")
WHAT_ARE = ("what are {x}?",)

# Each is a slip that people do make; a short list keeps every misspelling frequent enough to be learnt.
TYPOS = {
    "field": "feild", "rugby": "rugy", "league": "leage", "width": "widht", "length": "lenght",
    "height": "hieght", "pitch": "ptich", "what": "waht", "distance": "distence", "metres": "meters",
    "the": "teh", "between": "betwen", "which": "wich",
}  # fmt: skip

LOWER_CASE_SHARE = 0.14
TYPO_SHARE = 0.06


def fillings(core: Core, slots: Mapping[str, Sequence[str]]) -> list[FilledCore]:
    """Every wording of a core; a slot that occurs twice is filled with the same words."""
    names = list(dict.fromkeys(re.findall(r"\{(\w+)\}", core.template)))
    values = itertools.product(*(slots[name] for name in names))
    return [FilledCore(core, tuple(zip(names, chosen, strict=True))) for chosen in values]


def normalised(text: str) -> str:
    """Lower case, no punctuation, single spaces: two questions that agree in this are the same question."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _asked_directly(text: str, contexts: Sequence[str], rng: random.Random) -> str:
    chance = rng.random()
    closer = rng.choice(CLOSERS) if rng.random() < 0.12 else ""
    question = f"{text}{closer}?"
    if chance < 0.25:
        return f"{rng.choice(OPENERS)} {question}"
    if contexts and chance < 0.45:
        return f"{rng.choice(contexts)} {capitalised(question)}"
    return question


def _wrapped(filled: FilledCore, contexts: Sequence[str], rng: random.Random) -> str:
    form = filled.core.form
    if form is Form.QUESTION:
        if filled.indirect and rng.random() < 0.4:
            return rng.choice(INDIRECT_WRAPPERS).replace("{x}", filled.indirect)
        return _asked_directly(filled.direct, contexts, rng)
    if form in (Form.NOUN, Form.PLURAL):
        if rng.random() < 0.3:
            what = rng.choice(WHAT_IS if form is Form.NOUN else WHAT_ARE).replace("{x}", filled.direct)
            return _asked_directly(what.removesuffix("?"), contexts, rng)
        return rng.choice(NOUN_WRAPPERS).replace("{x}", filled.direct)
    if form is Form.KEYWORDS:
        return filled.direct + rng.choice(("?", "", ", please", "? Thanks"))
    return filled.direct


def _misspelt(text: str, rng: random.Random) -> str:
    known = [word for word in TYPOS if re.search(rf"\b{word}\b", text)]
    if not known:
        return text
    word = rng.choice(known)
    return re.sub(rf"\b{word}\b", TYPOS[word], text, count=1)


def spoken(filled: FilledCore, contexts: Sequence[str], rng: random.Random) -> str:
    """One way of typing a wording: wrapped, perhaps in lower case without punctuation, perhaps misspelt."""
    text = _wrapped(filled, contexts, rng)
    if rng.random() < TYPO_SHARE:
        text = _misspelt(text, rng)
    if rng.random() < LOWER_CASE_SHARE:
        return re.sub(r"[?.,:!]+(?=\s|$)", "", text.lower())
    return capitalised(text)
