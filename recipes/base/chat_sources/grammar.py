"""Small tools for composing sentences from patterns. Knows nothing of what the sentences say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

Messages = list[dict[str, str]]

_CHOICE = re.compile(r"\[([^\[\]]*)\]")

QUESTION_FRAMES = (
    "{d}?",
    "{d}?",
    "{d}?",
    "{d}?",
    "{d}?",
    "{d}?",
    "{d}?",
    "[please |]tell me {c}.",
    "can you tell me {c}?",
    "could you tell me {c}[, please|]?",
    "do you know {c}?",
    "i would like to know {c}.",
    "i want to know {c}.",
    "i need to know {c}.",
    "[please |]say {c}.",
    "[would you|will you] tell me {c}?",
    "[quick|one|a small|a short|another] question: {d}?",
    "hi, {d}?",
    "hello, {d}?",
    "please, {d}?",
    "so, {d}?",
    "excuse me, {d}?",
    "sorry, {d}?",
    "okay, {d}?",
    "any idea {c}?",
    "[do you happen to|would you] know {c}?",
    "i forgot {c}. [can you help|do you know|please tell me]?",
    "i wonder {c}.",
    "[my friend|my sister|my son|a child|somebody] asked me {c}. [what should i say|what is the answer]?",
    "can you say {c}?",
    "help me: {d}?",
    "i am not sure {c}.",
    "remind me {c}.",
    "i am curious {c}.",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question with its answer; `short` is the answer in as few words as will do, where there is one."""

    question: str
    answer: str
    short: str | None = None


def expand(rng: Random, pattern: str, **slots: Any) -> str:
    """Choose one alternative in each `[a|b]` (innermost first), then fill the `{slots}`."""
    while match := _CHOICE.search(pattern):
        chosen = rng.choice(match.group(1).split("|"))
        pattern = pattern[: match.start()] + chosen + pattern[match.end() :]
    return pattern.format(**slots)


def pick(rng: Random, patterns: Sequence[str], **slots: Any) -> str:
    """One of the patterns, expanded."""
    return expand(rng, rng.choice(patterns), **slots)


def sentence(text: str) -> str:
    """First letter large, a lone "i" large, and a full stop where no end mark stands."""
    text = re.sub(r"\bi\b(?!\.e)", "I", text.strip())
    text = re.sub(r"([.?!] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    text = text[:1].upper() + text[1:]
    text = re.sub(r"\.\?$", ".", text)
    return text if text[-1:] in '.?!:"' else text + "."


def ask(rng: Random, direct: str, clause: str | None = None) -> str:
    """Frame a question, given as "how long is it" and as "how long it is", in one of many ways."""
    frame = rng.choice(QUESTION_FRAMES)
    while clause is None and "{c}" in frame:
        frame = rng.choice(QUESTION_FRAMES)
    text = expand(
        rng, frame.replace("{d}", direct.replace("{", "").replace("}", "")).replace("{c}", clause or "")
    )
    if text.endswith(("help?", "know?", "say?", "answer?", "me?")) and "?." in text:
        text = text.replace("?.", "?")
    return (
        sentence(text)
        .replace("please tell me?", "Please tell me.")
        .replace("Please tell me?", "Please tell me.")
    )


def casual(rng: Random, text: str) -> str:
    """Now and then the way people type: all small letters, or no end mark."""
    roll = rng.random()
    if roll < 0.05:
        return text.lower()
    if roll < 0.08 and text.endswith(("?", ".")):
        return text[:-1]
    return text.lower().rstrip("?.") if roll < 0.10 else text


def series(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"{'an' if noun[0].lower() in 'aeiou' and not noun.startswith(('uni', 'use')) else 'a'} {noun}"


def mend_articles(messages: Messages) -> Messages:
    """`a` made `an` before a vowel, where a pattern met a coined word."""
    for message in messages:
        message["content"] = re.sub(
            r"\b([Aa]) (?=(?!uni|use|one\b)[aeiou][a-z])", r"\1n ", message["content"]
        )
    return messages


def turns(exchanges: Sequence[tuple[str, str]], system: str | None = None) -> Messages:
    """Question and answer pairs as alternating messages, after the system message where there is one."""
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in exchanges:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages
