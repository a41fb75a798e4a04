"""Write the conversations on which the base model is tuned to chat: generated ones and the corpus's dialogue.

    python recipes/base/conversations.py --corpus FOLDER --out chat.jsonl [--valid valid.jsonl] [--seed 0]

Each row is {"messages": [...], "source": "..."}. The same seed and corpus give the same files. Nothing here
speaks of the field on which the demonstration teaches a model: the base must not know it. Knows nothing of
tokenizers or training.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from chat_sources.corpus import corpus_conversations
from chat_sources.grammar import Exchange, Messages, casual, mend_articles, turns
from chat_sources.knowledge import KNOWLEDGE
from chat_sources.reading import compose
from chat_sources.smalltalk import (
    NEUTRAL_SYSTEMS,
    SHORT_SYSTEMS,
    fixed_reply,
    greeting,
    memory,
    role,
    talk,
    unknown,
)
from chat_sources.tasks import TASKS

Row = dict[str, Any]
FORBIDDEN = re.compile(
    r"rugby|try[- ]lines?\b|in-goal|\bscrums?\b|goal[- ]?posts?|cross-?bar|dead[- ]ball|goal[- ]line",
    re.IGNORECASE,
)
UNWANTED = re.compile(r"nhentai|porn|\bsex|shit|fuck|bitch", re.IGNORECASE)
NUM_GENERATED, NUM_VALID, MAX_CHARS = 16_600, 400, 2600


def _exchanges(rng: Random, maker: Callable[[Random], list[Exchange]]) -> Messages:
    """The maker's exchanges, now and then greeted, thanked for, under a system prompt, or in a word."""
    exchanges = maker(rng)
    if all(exchange.short for exchange in exchanges) and rng.random() < 0.16:
        return turns([(casual(rng, e.question), str(e.short)) for e in exchanges], rng.choice(SHORT_SYSTEMS))
    if rng.random() < 0.06:
        exchanges = [greeting(rng), *exchanges]
    if rng.random() < 0.06:
        thanks = rng.choice(
            (
                ("Thank you.", "You are welcome."),
                ("Thanks!", "You are welcome!"),
                ("Thanks, that is all.", "Goodbye!"),
            )
        )
        exchanges = [*exchanges, Exchange(*thanks)]
    system = rng.choice(NEUTRAL_SYSTEMS) if rng.random() < 0.22 else None
    return turns([(casual(rng, e.question), e.answer) for e in exchanges], system)


def _mixed(rng: Random) -> Messages:
    """Two or three unlike subjects in one conversation."""
    chosen: list[Exchange] = [greeting(rng)] if rng.random() < 0.25 else []
    for _ in range(rng.choice((2, 2, 3))):
        chosen += rng.choice((rng.choice(KNOWLEDGE), rng.choice(TASKS), talk, unknown))(rng)[:2]
    return turns(
        [(casual(rng, e.question), e.answer) for e in chosen],
        rng.choice(NEUTRAL_SYSTEMS) if rng.random() < 0.2 else None,
    )


def _reading_and_more(rng: Random) -> Messages:
    """A reading task that is greeted before, or thanked after: the text must survive the small talk."""
    messages = compose(rng).messages
    extra = [(e.question, e.answer) for e in (greeting(rng) if rng.random() < 0.5 else talk(rng)[0],)]
    if messages[0]["role"] == "system" and rng.random() < 0.6:
        return [messages[0], *turns(extra), *messages[1:]]
    return [
        *messages,
        *turns(
            [
                rng.choice(
                    (
                        ("Thank you.", "You are welcome."),
                        ("Thanks!", "My pleasure."),
                        ("Good, thanks.", "You are welcome!"),
                    )
                )
            ]
        ),
    ]


_KINDS: tuple[tuple[str, int, Callable[[Random], Messages]], ...] = (
    ("reading", 40, lambda rng: compose(rng).messages),
    ("reading-and-talk", 4, _reading_and_more),
    ("knowledge", 20, lambda rng: _exchanges(rng, rng.choice(KNOWLEDGE))),
    ("task", 16, lambda rng: _exchanges(rng, rng.choice(TASKS))),
    ("smalltalk", 4, lambda rng: _exchanges(rng, rng.choice((talk, talk, talk, lambda r: [greeting(r)])))),
    ("unknown", 5, lambda rng: _exchanges(rng, unknown)),
    ("memory", 3, memory),
    ("system", 3, lambda rng: rng.choice((role, fixed_reply, fixed_reply))(rng)),
    ("mixed", 5, _mixed),
)


def is_fit(messages: Messages) -> bool:
    """Optional system, then user and assistant in turn, nothing empty, nothing forbidden, not too long."""
    roles = [message["role"] for message in messages]
    body = roles[1:] if roles[:1] == ["system"] else roles
    text = "\n".join(message["content"] for message in messages)
    return (
        len(body) >= 2
        and len(body) % 2 == 0
        and body == ["user", "assistant"] * (len(body) // 2)
        and all(message["content"].strip() for message in messages)
        and len(text) <= MAX_CHARS
        and not FORBIDDEN.search(text)
        and not UNWANTED.search(text)
    )


def generated_conversations(seed: int, count: int) -> list[Row]:
    """`count` different composed conversations, the same for the same seed; needs no corpus."""
    rng = Random(f"{seed}/generated")
    names, weights, makers = zip(*_KINDS, strict=True)
    rows: dict[str, Row] = {}
    for _ in range(count * 20):
        at = rng.choices(range(len(names)), weights)[0]
        messages = mend_articles(makers[at](rng))
        if is_fit(messages):
            rows.setdefault(json.dumps(messages), {"messages": messages, "source": f"generated/{names[at]}"})
        if len(rows) == count:
            break
    return list(rows.values())


def conversations(corpus: Path, seed: int) -> tuple[list[Row], list[Row]]:
    """Training and validation rows: no conversation, and no first question with its text, on both sides."""
    rows = generated_conversations(seed, NUM_GENERATED) + [
        r for r in corpus_conversations(corpus, seed) if is_fit(r["messages"])
    ]
    Random(f"{seed}/split").shuffle(rows)
    opening = [
        json.dumps([m["content"] for m in row["messages"] if m["role"] != "assistant"][:2]).lower()
        for row in rows
    ]
    seen = Counter(opening)
    alone = [at for at, text in enumerate(opening) if seen[text] == 1][:NUM_VALID]
    held = set(alone)
    return [row for at, row in enumerate(rows) if at not in held], [rows[at] for at in alone]


def write(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the chat-tuning conversations of the base model.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder with part-*.jsonl.zst")
    parser.add_argument("--out", type=Path, required=True, help="JSONL to write")
    parser.add_argument(
        "--valid", type=Path, help="JSONL for the validation rows; without it they are left out"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not list(given.corpus.glob("part-*.jsonl.zst")):
        parser.error(
            f"expected part-*.jsonl.zst in {given.corpus}, found none; give --corpus the corpus folder"
        )
    train, valid = conversations(given.corpus, given.seed)
    write(given.out, train)
    if given.valid:
        write(given.valid, valid)
    for source, number in sorted(Counter(row["source"] for row in train).items()):
        print(f"{number:6d}  {source}")
    print(f"{len(train)} rows in {given.out}; {len(valid)} validation rows")


if __name__ == "__main__":
    main()
