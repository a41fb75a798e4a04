"""rules: instructions that a program can check, such as "at most 50 words" or "end with a question".

The row has `rules`, a list of {"rule": name, and what it needs}, and an `answer` that keeps them all. An answer is
right where it keeps every rule; the figures also tell the share of single rules that were kept. Each rule knows how to
spoil a text, so that each proves itself on the item's own gold answer.
After: Zhou et al., Instruction-Following Evaluation for Large Language Models (2023).
This file knows nothing of models and files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import Figure, Graded, Grader, mean_figure
from luthier.evaluation.graders.json_text import read_json
from luthier.evaluation.graders.text import occurs
from luthier.evaluation.graders.verdict import Verdict, failed, passed
from luthier.evaluation.graders.words import is_blank
from luthier.evaluation.item import EvalItem

_SENTENCE_END = re.compile(r"[.!?。！？]+(?=\s|$)")
_BULLET = re.compile(r"^\s*(?:[-*•]|[0-9]+[.)])\s+\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """`keeps(text, value)`: whether the text keeps it; `spoil(text, value)`: a text that does not.

    `takes`: the type of its `value`, or None where it needs none.
    """

    takes: type | None
    keeps: Callable[[str, Any], bool]
    spoil: Callable[[str, Any], str]


def num_words(text: str) -> int:
    return len(text.split())


def num_sentences(text: str) -> int:
    """Sentences that end with a mark, and one more where words follow the last."""
    pieces = [piece for piece in _SENTENCE_END.split(text) if not is_blank(piece)]
    return len(pieces)


def num_paragraphs(text: str) -> int:
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()])


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _first_words(text: str, count: int) -> str:
    return " ".join(text.split()[: max(0, count)])


def _without(text: str, value: str) -> str:
    return "something else entirely" if "something" not in value.casefold() else "nothing of the kind"


RULES_BY_NAME: dict[str, Rule] = {
    "min_words": Rule(int, lambda t, n: num_words(t) >= n, lambda t, n: _first_words(t, n - 1)),
    "max_words": Rule(int, lambda t, n: num_words(t) <= n, lambda t, n: f"{t} " + "more " * (n + 1)),
    "min_sentences": Rule(int, lambda t, n: num_sentences(t) >= n, lambda t, n: "Too few. " * (n - 1)),
    "max_sentences": Rule(int, lambda t, n: num_sentences(t) <= n, lambda t, n: f"{t} " + "More. " * (n + 1)),
    "paragraphs": Rule(int, lambda t, n: num_paragraphs(t) == n, lambda t, n: f"{t}\n\none more"),
    "bullets": Rule(int, lambda t, n: len(_BULLET.findall(t)) == n, lambda t, n: f"{t}\n- one more"),
    "includes": Rule(str, lambda t, s: occurs(s, t), lambda t, s: _without(t, s)),
    "excludes": Rule(str, lambda t, s: not occurs(s, t), lambda t, s: f"{t} {s}"),
    "starts_with": Rule(str, lambda t, s: t.lstrip().startswith(s), lambda t, s: f"~ {t}"),
    "ends_with": Rule(str, lambda t, s: t.rstrip().endswith(s), lambda t, s: f"{t} ~"),
    "matches": Rule(
        str, lambda t, s: re.fullmatch(s, t.strip(), re.DOTALL) is not None, lambda t, s: f"~\x00 {t}"
    ),
    "lowercase": Rule(None, lambda t, _: t == t.lower(), lambda t, _: f"{t} LOUD"),
    "uppercase": Rule(None, lambda t, _: t == t.upper(), lambda t, _: f"{t} quiet"),
    "no_commas": Rule(None, lambda t, _: "," not in t, lambda t, _: f"{t}, and"),
    "json": Rule(None, lambda t, _: _is_json(t), lambda t, _: f"Here: {t}"),
}


def rules_of(item: EvalItem) -> list[tuple[str, Rule, Any]]:
    """(name, rule, value) of each rule. Raises EvaluationError naming what is wrong with one."""
    given = item.fields.get("rules")
    if not isinstance(given, list) or not given:
        raise EvaluationError("field 'rules': expected a list of rules that is not empty")
    found = []
    for entry in given:
        name = entry.get("rule") if isinstance(entry, Mapping) else None
        if name not in RULES_BY_NAME:
            raise EvaluationError(
                f"field 'rules': no rule is called {name!r}; known: {', '.join(RULES_BY_NAME)}"
            )
        rule = RULES_BY_NAME[name]
        expected = {"rule"} | ({"value"} if rule.takes is not None else set())
        value = entry.get("value")
        is_kind = rule.takes is None or (isinstance(value, rule.takes) and not isinstance(value, bool))
        if set(entry) != expected or not is_kind or (rule.takes is int and value < 1) or value == "":
            needs = f"a 'value' that is {'a whole number from 1' if rule.takes is int else 'a text'}"
            raise EvaluationError(
                f"field 'rules': {name} takes {needs if rule.takes else 'no value'}, found {dict(entry)}"
            )
        found.append((name, rule, value))
    return found


def grade(item: EvalItem, answer: str) -> Verdict:
    """Passed where every rule is kept; an empty answer keeps none."""
    rules = rules_of(item)
    if is_blank(answer):
        return failed("the answer is empty", kept=[0.0] * len(rules))
    kept = [rule.keeps(answer, value) for _, rule, value in rules]
    broken = [
        f"{name} {value if value is not None else ''}".strip()
        for (name, _, value), yes in zip(rules, kept, strict=True)
        if not yes
    ]
    details = {"kept": [float(yes) for yes in kept]}
    return (
        failed(f"breaks {', '.join(broken)}", **details)
        if broken
        else passed(f"keeps {len(kept)}", **details)
    )


def _golds(item: EvalItem) -> tuple[str, ...]:
    return () if item.answer is None else (item.answer,)


def _wrongs(item: EvalItem) -> tuple[str, ...]:
    gold = item.answer or ""
    return ("", " \n", "...", *(rule.spoil(gold, value) for _, rule, value in rules_of(item)))


def _figures(graded: Sequence[Graded]) -> list[Figure]:
    kept = [one.verdict.details["kept"] for one in graded]
    return [
        *mean_figure("all_rules_kept", [one.verdict.score for one in graded]),
        *mean_figure("rules_kept", [sum(values) / len(values) for values in kept]),
    ]


RULES = Grader("rules", grade, _golds, _wrongs, keys=("answer", "rules"), figures=_figures)
