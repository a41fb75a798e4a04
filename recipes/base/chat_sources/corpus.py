"""Dialogue rows of the text corpus as conversations. Knows the corpus's plain layouts; invents nothing."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from .grammar import Messages, pick, sentence, turns

MAX_TURNS, MAX_MESSAGE_CHARS, MAX_TOTAL_CHARS = 6, 900, 2400
CAPS = {
    "taskmaster-coffee": 2300,
    "taskmaster-film": 2200,
    "gsm8k": 1500,
    "chatterbot": 400,
    "snips": 1300,
    "tldr": 1500,
    "exercism": 150,
}
_SPEAKER = re.compile(r"^(User|Assistant): ?(.*)$")
_KEYS = {
    "Taskmaster": None,
    "grade-school-math": "gsm8k",
    "chatterbot-corpus": "chatterbot",
    "nlu-benchmark": "snips",
    "tldr": "tldr",
    "problem-specifications": "exercism",
}


def _key(source: str) -> str | None:
    name = source.split("@", 1)[0].rsplit("/", 1)[-1]
    if name == "Taskmaster":
        return "taskmaster-coffee" if ":TM-4" in source else "taskmaster-film"
    return _KEYS.get(name)


def corpus_rows(folder: Path) -> Iterator[tuple[str, str]]:
    """(short source name, text) of every row in the parts that a conversation can be made of."""
    import zstandard

    for part in sorted(folder.glob("part-*.jsonl.zst")):
        with part.open("rb") as raw:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8"):
                row = json.loads(line)
                if key := _key(row["source"]):
                    yield key, row["text"]


def dialogue(rng: Random, text: str) -> Messages | None:
    """`User:`/`Assistant:` lines as alternating messages, cut to a window of whole exchanges."""
    said: list[list[str]] = []
    for line in text.replace("\\t", " ").replace('\\"', '"').splitlines():
        match = _SPEAKER.match(line)
        if match and said and said[-1][0] == match.group(1):
            said[-1][1] += " " + match.group(2)
        elif match:
            said.append([match.group(1), match.group(2)])
        elif said:
            said[-1][1] += "\n" + line
    pairs = [
        (a[1].strip(), b[1].strip())
        for a, b in zip(said[::2], said[1::2], strict=False)
        if a[0] == "User" and b[0] == "Assistant"
    ]
    good = 0
    while good < len(pairs) and all(_fine(message) for message in pairs[good]):
        good += 1
    pairs = pairs[: min(good, rng.randint(1, MAX_TURNS))]
    return turns(pairs) if pairs else None


def _fine(message: str) -> bool:
    return (
        bool(message)
        and len(message) <= MAX_MESSAGE_CHARS
        and not re.search(r'[{}<>]|"name"|https?:|_', message)
        and any(c.isalpha() for c in message)
    )


def gsm8k(rng: Random, text: str) -> Messages | None:
    match = re.fullmatch(r"Question: (.+?)\nAnswer: (.+)", text, re.S)
    if not match or len(text) > 700:
        return None
    return turns([(re.sub(r" {2,}", " ", match.group(1)), match.group(2))])


def snips(rng: Random, text: str) -> Messages | None:
    """The intent of a request, or one of its details: reading again, on real requests."""
    match = re.fullmatch(r"Request: (.+)\nIntent: (.+)\nDetails: (.+)", text)
    if not match:
        return None
    request, intent, details = match.groups()
    if rng.random() < 0.4:
        system = rng.choice(
            (
                "Say what the user wants, in two or three words.",
                "Name the intent of the request.",
                "You sort requests. Answer with the intent.",
            )
        )
        return turns([(request, intent)], system)
    name, _, value = rng.choice(details.split("; ")).partition(": ")
    if not value or value not in request:
        return None
    name = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    if rng.random() < 0.4:
        return turns(
            [(request, value)],
            rng.choice(
                (
                    f"Find the {name} in the request. Answer with it alone.",
                    f"Copy the {name} from the user's request.",
                )
            ),
        )
    question = pick(
        rng,
        ("what is the {n}?", "which words give the {n}?", "find the {n}.", "[please |]name the {n}."),
        n=name,
    )
    return turns([(f"{request}\n{sentence(question)}", value)])


def tldr(rng: Random, text: str) -> Messages | None:
    name = text.splitlines()[0].lstrip("# ").strip()
    items = re.findall(r"- (.+?):\n\n`([^`\n]+)`", text)
    items = [
        (what, how)
        for what, how in items
        if len(what) + len(how) < 170 and "`" not in what and "documentation" not in what
    ]
    if not items or len(name) > 30:
        return None
    what, how = rng.choice(items)
    what = re.sub(r"\[(\w+)\]", r"\1", what)
    lower = what[0].lower() + what[1:] if what[1:2].islower() or what[1:2] == " " else what
    about = text.split("\n\n")[1].split("\n")[0]
    if rng.random() < 0.2 and 20 < len(about) < 160 and about.endswith("."):
        return turns(
            [
                (
                    pick(
                        rng,
                        (
                            "What does {n} do?",
                            "What is {n} for?",
                            "Explain {n} in one sentence.",
                            "What is the command {n}?",
                        ),
                        n="\0",
                    ).replace("\0", name),
                    about,
                )
            ]
        )
    question = pick(
        rng,
        (
            "How do I {w} with {n}?",
            "How can I {w} with {n}?",
            "{w}, using {n}.",
            "Which {n} command do I use to {w}?",
            "I want to {w}. How do I do it with {n}?",
        ),
        w="\0",
        n="\1",
    )
    question = question.replace("\0", lower).replace("\1", name)
    return turns([(question[0].upper() + question[1:], how)])


def exercism(rng: Random, text: str) -> Messages | None:
    """The first sentence of an exercise as the answer to what it asks for."""
    match = re.match(r"# (?:Description|Instructions)\n\n([A-Z][^\n`*\[]{25,220}\.)\n", text)
    if not match or not re.match(
        r"(Given|Convert|Calculate|Determine|Compute|Find|Count|Write|Implement|Create|Take)\b",
        match.group(1),
    ):
        return None
    return turns(
        [
            (
                pick(
                    rng,
                    (
                        "Give me a small programming exercise.",
                        "I want to practise programming. What can I write?",
                        "Name a programming task.",
                        "What could I program today?",
                        "Do you have [an idea|a task] for a short program?",
                    ),
                ),
                match.group(1),
            )
        ]
    )


_MAKERS: dict[str, Callable[[Random, str], Messages | None]] = {
    "taskmaster-coffee": dialogue,
    "taskmaster-film": dialogue,
    "chatterbot": dialogue,
    "gsm8k": gsm8k,
    "snips": snips,
    "tldr": tldr,
    "exercism": exercism,
}


def corpus_conversations(folder: Path, seed: int) -> list[dict[str, Any]]:
    """The corpus's half, each source shuffled and capped; fit rows only."""
    texts: dict[str, list[str]] = defaultdict(list)
    for key, text in corpus_rows(folder):
        texts[key].append(text)
    rows = []
    for key in sorted(texts):
        rng = Random(f"{seed}/{key}")
        rng.shuffle(texts[key])
        kept: dict[str, dict[str, Any]] = {}
        for text in texts[key]:
            messages = _MAKERS[key](rng, text)
            if (
                messages
                and sum(len(m["content"]) for m in messages) <= MAX_TOTAL_CHARS
                and len(kept) < CAPS[key]
            ):
                kept.setdefault(json.dumps(messages), {"messages": messages, "source": f"corpus/{key}"})
        rows += kept.values()
    return rows
