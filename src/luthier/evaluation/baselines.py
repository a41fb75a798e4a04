"""What a model can do without training: zero-shot, with examples, with another prompt, with documents at hand.

A fine-tune has to be held against the best of these on the same items; "do not train" is a verdict that can win.
This file knows nothing of files, and of where examples and documents come from.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from luthier.chat.messages import Conversation, Message
from luthier.errors import EvaluationError
from luthier.evaluation.compare import ALPHA, Evidence, Pair, compare, graded_pairs, source_of
from luthier.evaluation.item import EvalItem
from luthier.evaluation.lookup import Lookup
from luthier.evaluation.runner import AnsweredItem, Answerer, Asking, EvalResult
from luthier.evaluation.stats import bootstrap_difference, equivalence_of_pairs

MARGIN = 0.05


@dataclass(frozen=True)
class Baseline:
    """One way to ask a model that was not trained. `lookup`: passages to put before each question, so many."""

    name: str
    system_prompt: str | None = None
    few_shot: tuple[Message, ...] = ()
    lookup: Lookup | None = None
    num_passages: int = 0

    def asking(self, answerer: Answerer, max_new_tokens: int) -> Asking | None:
        """How answers come to be; None for plain generation."""
        lookup = self.lookup
        if lookup is None:
            return None

        def ask(items: Sequence[EvalItem], prompts: Sequence[Sequence[Message]]) -> Sequence[AnsweredItem]:
            shown = [_with_passages(messages, lookup, self.num_passages) for messages in prompts]
            return answerer.answer(shown, max_new_tokens)

        return Asking("greedy", ask)


def _with_passages(messages: Sequence[Message], lookup: Lookup, count: int) -> tuple[Message, ...]:
    question = messages[-1].content
    passages = lookup.find(question, count)
    return (*messages[:-1], Message("user", "\n\n".join([*passages, question])))


def choose_examples(
    rows: Sequence[Conversation], items: Sequence[EvalItem], count: int, seed: int = 0
) -> tuple[Message, ...]:
    """The turns of `count` training rows, drawn at random but with as many different answers as there are.

    Their system turns are left out, and so is every row that asks what an item asks, or asks twice. Raises
    EvaluationError where fewer rows are left.
    """
    asked = {_key(item.messages) for item in items}
    drawn = list(rows)
    random.Random(seed).shuffle(drawn)
    fit: list[tuple[Message, ...]] = []
    for row in drawn:
        turns = tuple(message for message in row.messages if message.role != "system")
        is_example = len(turns) >= 2 and turns[-1].role == "assistant" and turns[-1].content.strip()
        if is_example and _key(turns[:-1]) not in asked:
            asked.add(_key(turns[:-1]))
            fit.append(turns)
    if len(fit) < count:
        raise EvaluationError(
            f"{count} examples: only {len(fit)} of {len(rows)} training rows are questions with an answer that no item "
            "asks; give fewer --shots, or more rows"
        )
    times: Counter[str] = Counter()
    order = []
    for place, turns in enumerate(fit):
        order.append((times[turns[-1].content], place))
        times[turns[-1].content] += 1
    return tuple(message for _, place in sorted(order)[:count] for message in fit[place])


def _key(messages: Sequence[Message]) -> str:
    words = " ".join(message.content for message in messages if message.role == "user")
    return " ".join(words.casefold().split())


class Word(StrEnum):
    """Whether the training paid."""

    TRAIN = "train"
    DO_NOT_TRAIN = "do not train"
    NOT_ENOUGH = "not enough evidence"


@dataclass(frozen=True)
class Worth:
    """The word, why, and the tuned model against each baseline."""

    word: Word
    reason: str
    best_baseline: str
    margin: float
    alpha: float
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def worth(
    baselines: Sequence[EvalResult], tuned: EvalResult, *, margin: float = MARGIN, alpha: float = ALPHA
) -> Worth:
    """Whether a tuned model beats all that costs no training.

    `train`: better than each baseline; since all have to be beaten, each at alpha is alpha in all (an
    intersection-union test: Berger, Technometrics 24 (1982) 295-300). `do not train`: the best baseline is better, or
    not worse by the margin; it was the best of several on these items, so alpha is shared by their number.
    Raises EvaluationError without a baseline, and where results are not on the same items.
    """
    if not baselines:
        raise EvaluationError("expected at least one baseline, found none")
    pairs = tuple(compare([baseline, tuned], alpha=alpha).pairs[0] for baseline in baselines)
    best = max(range(len(pairs)), key=lambda place: baselines[place].accuracy)
    pair, name = pairs[best], baselines[best].label
    counts = f"{pair.wins} won, {pair.losses} lost against {name}"
    share = alpha / len(pairs)
    if not tuned.tally.num_passed and not baselines[best].tally.num_passed:
        counts += "; neither is right on any item"
    if all(one.verdict is Evidence.BETTER for one in pairs):
        word, reason = Word.TRAIN, f"better than every baseline: {counts}, the best of them"
    elif pair.p_value < share and pair.losses > pair.wins:
        word, reason = Word.DO_NOT_TRAIN, f"a baseline is better: {counts}"
    elif _is_as_good(baselines[best], tuned, pair, margin, share):
        word, reason = Word.DO_NOT_TRAIN, f"a baseline is as good, to {margin:.0%} of the items: {counts}"
    else:
        word = Word.NOT_ENOUGH
        unbeaten = sum(one.verdict is not Evidence.BETTER for one in pairs)
        reason = f"{counts}; {unbeaten} of {len(pairs)} baselines are neither beaten nor shown to be as good"
    return Worth(word, reason, name, margin, alpha, pairs)


def _is_as_good(baseline: EvalResult, tuned: EvalResult, pair: Pair, margin: float, alpha: float) -> bool:
    """Whether the baseline is not worse by the margin: on the items, and over whole sources where they share some."""
    found = equivalence_of_pairs(pair.losses, pair.wins, pair.num_pairs, margin, alpha)
    if found.p_not_worse >= alpha or pair.num_sources is None:
        return found.p_not_worse < alpha
    graded = graded_pairs(baseline.items, tuned.items)
    before, after = zip(*((float(first), float(second)) for _, (first, second) in graded), strict=True)
    sources = [source_of(item) for item, _ in graded]
    interval = bootstrap_difference(before, after, clusters=sources, confidence=1 - 2 * alpha)
    return interval.high < margin
