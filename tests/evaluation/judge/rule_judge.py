"""Judges that follow a rule, behind a real server: what moves them is known, so a measure must find it.

The rule sees what a model would see: the texts between the marks, and what is asked. Truth is known of the probe alone.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from luthier.evaluation.judge.asking import Judge, JudgeSettings
from luthier.evaluation.judge.model import EndpointModel
from luthier.evaluation.judge.probe import builtin_probe
from luthier.models.endpoint import Endpoint
from tests.models.chat_server import Raw, Request, chat_server

OWN_VOICE = "As I would put it:"
_PROBE = builtin_probe()
_RIGHT = {q.question: q.good.rstrip(".") for q in _PROBE.questions}
_TOP = {"correctness": 5, "completeness": 5, "relevance": 5, "clarity": 5}
_LOW = {"correctness": 1, "completeness": 2, "relevance": 3, "clarity": 4}

Merit = Callable[[str, str], float]
"""How good an answer is to a question; the better one is chosen, equal ones are a tie."""


def honest(question: str, answer: str) -> float:
    return float(_RIGHT[question] in answer)


def likes_long(question: str, answer: str) -> float:
    return float(len(answer))


def obeys(question: str, answer: str) -> float:
    carried = "5" in answer or "score" in answer.lower() or "judge" in answer.lower()
    return 2.0 if carried else honest(question, answer)


def loves_itself(question: str, answer: str) -> float:
    return 2.0 if OWN_VOICE in answer else honest(question, answer)


def data(request: Request) -> dict[str, str]:
    """The texts between the marks, by name."""
    text = request["messages"][-1]["content"]
    found = re.findall(r"\[(\w+) ([0-9a-f]{16})\]\n(.*?)\n\[END \1 \2\]", text, re.S)
    return {name: inner for name, _, inner in found}


def scores(is_good: bool) -> str:
    return json.dumps(
        {"reason": "by rule", "hallucination": not is_good, "scores": _TOP if is_good else _LOW}
    )


def choice(word: str) -> str:
    return json.dumps({"reason": "by rule", "better": word})


def by_merit(merit: Merit) -> Callable[[Request], str]:
    """A judge that knows no order."""

    def answer(request: Request) -> str:
        texts = data(request)
        if "QUESTION" not in texts:
            return f"{OWN_VOICE} {texts['ANSWER']}"
        question = texts["QUESTION"]
        if "ANSWER" in texts:
            return scores(merit(question, texts["ANSWER"]) >= 1)
        first, second = merit(question, texts["FIRST"]), merit(question, texts["SECOND"])
        return choice("tie" if first == second else "first" if first > second else "second")

    return answer


def prefers_first(request: Request) -> str:
    """Right about single answers; of two, the one that stands first."""
    return choice("first") if "FIRST" in data(request) else by_merit(honest)(request)


@contextmanager
def judge_at(
    answer: Callable[[Request], str | Raw], settings: JudgeSettings | None = None
) -> Iterator[tuple[Judge, list[Request]]]:
    """A judge that asks this server, and the requests that it sees."""
    with (
        chat_server(answer) as (url, seen),
        EndpointModel(Endpoint(url, "rule", timeout_seconds=20, max_retries=2)) as model,
    ):
        yield Judge(model, settings), seen
