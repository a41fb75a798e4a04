"""A question of two specialists is split by a plan or by its clauses, asked and joined; one that fails is told."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from luthier.chat.messages import Message
from luthier.errors import ServingError
from luthier.models.generate import Sampling, generate
from luthier.models.load import load_model
from luthier.serving.orchestrate import Part, by_clauses, orchestrate, read_plan
from luthier.serving.protocol import AUTO, Request
from luthier.serving.router import Router, Word
from luthier.serving.router.training import train_router
from tests.serving.router.questions import some

QUESTION = "How do I bake a pie, and can you prune the roses for me?"
BOTH = ("cooking", "gardening")


@pytest.fixture(scope="module")
def router() -> Router:
    questions = some(60)
    return train_router(questions, questions.pop("base"))


def request(text: str) -> Request:
    return Request("r1", AUTO, (Message("system", "Be kind."), Message("user", text)), orchestrate=True)


def plan_of(*parts: tuple[str, str]) -> str:
    return json.dumps({"parts": [{"specialist": name, "question": asked} for name, asked in parts]})


GOOD = plan_of(("cooking", "How do I bake a pie?"), ("gardening", "Can you prune the roses for me?"))


def teller(plan: str | Exception) -> tuple[Callable[[str | None, str], Awaitable[str]], list[str | None]]:
    """Somebody who says who answers what; the base says the plan."""
    asked: list[str | None] = []

    async def ask(specialist: str | None, question: str) -> str:
        asked.append(specialist)
        if specialist is None:
            if isinstance(plan, Exception):
                raise plan
            return plan
        return f"[{specialist}] {question}"

    return ask, asked


def test_clauses_show_what_a_sure_router_does_not(router: Router) -> None:
    """As a whole the question seems to be one specialist's; a less sure router names both."""
    assert router.route(QUESTION).word is Word.ROUTED
    unsure = replace(router, temperature=15 * router.temperature)
    assert unsure.route(QUESTION).word is Word.SHARED
    ask, _ = teller(GOOD)
    assert asyncio.run(orchestrate(request(QUESTION), unsure, ask)).how == "planned"


def test_a_plan_is_followed(router: Router) -> None:
    ask, asked = teller(GOOD)
    found = asyncio.run(orchestrate(request(QUESTION), router, ask))
    assert asked == [None, "cooking", "gardening"]
    assert found.how == "planned" and [part.specialist for part in found.parts] == list(BOTH)
    assert found.text == (
        "cooking: [cooking] How do I bake a pie?\n\ngardening: [gardening] Can you prune the roses for me?"
    )
    assert json.loads(json.dumps(found.to_dict()))["parts"][0]["outcome"] == "answered"


def test_a_schema_holds_the_plan_where_there_is_one(router: Router) -> None:
    schemas: list[Mapping[str, Any]] = []

    async def ask_json(prompt: str, schema: Mapping[str, Any]) -> str:
        assert QUESTION in prompt and "cooking" in prompt
        schemas.append(schema)
        return GOOD

    ask, asked = teller("unused")
    found = asyncio.run(orchestrate(request(QUESTION), router, ask, ask_json))
    assert found.how == "planned" and None not in asked
    named = schemas[0]["properties"]["parts"]["items"]["properties"]["specialist"]["enum"]
    assert sorted(named) == list(BOTH)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ("Sure! First the pie.", "not JSON"),
        ("[" * 5000, "not JSON"),
        ('{"parts": []}', "does not say which"),
        (plan_of(("golf", "How do I bake a pie?"), ("cooking", "Prune the roses")), "does not say which"),
        (
            plan_of(("cooking", "How do I bake a pie?"), ("cooking", "prune the roses")),
            "one specialist alone",
        ),
        (
            plan_of(("cooking", "Is Paris large and lovely?"), ("gardening", "prune the roses")),
            "asks what the question does not",
        ),
        (plan_of(("cooking", "bake"), ("gardening", "prune")), "leaves out some"),
        (ServingError("broken"), "the base made no plan: broken"),
    ],
)
def test_without_a_usable_plan_clauses_are_routed(router: Router, plan: str | Exception, why: str) -> None:
    ask, _ = teller(plan)
    found = asyncio.run(orchestrate(request(QUESTION), router, ask))
    assert found.how == "clauses" and why in found.why
    assert [(part.specialist, part.question) for part in found.parts] == [
        ("cooking", "How do I bake a pie"),
        ("gardening", "can you prune the roses for me?"),
    ]


def test_what_one_answers_alone_is_not_split(router: Router) -> None:
    ask, asked = teller(GOOD)
    found = asyncio.run(orchestrate(request("How do I bake a pie?"), router, ask))
    assert (found.how, found.text, asked) == ("whole", "[cooking] How do I bake a pie?", ["cooking"])
    nobody = asyncio.run(orchestrate(request("Describe the city of Paris"), router, teller("Large.")[0]))
    assert (nobody.how, nobody.text, nobody.parts[0].specialist) == ("whole", "Large.", None)
    with pytest.raises(ServingError, match="the request has none"):
        asyncio.run(orchestrate(Request("r", AUTO, (Message("system", "x"),)), router, ask))


def test_clauses_stay_together_where_one_answers_them(router: Router) -> None:
    text = "Thanks! How do I bake a pie? Can you fry an egg for me? I need to water the lawn today. Bye."
    assert [(part.specialist, part.question) for part in by_clauses(text, BOTH, router)] == [
        ("cooking", "Thanks! How do I bake a pie? Can you fry an egg for me?"),
        ("gardening", "I need to water the lawn today. Bye."),
    ]
    alone = by_clauses("bake the roses", BOTH, router)
    assert len(alone) == 1 and alone[0].question == "bake the roses"
    many = "How do I bake a pie? Please prune the roses! " * 3
    assert by_clauses(many, BOTH, router) == (Part("cooking", many),)


def test_a_part_that_fails_is_told_and_the_others_stand(router: Router) -> None:
    async def ask(specialist: str | None, question: str) -> str:
        if specialist == "cooking":
            raise ServingError("the queue is full")
        if specialist == "gardening" and slow:
            await asyncio.sleep(60)
        return GOOD if specialist is None else "Yes."

    slow = False
    found = asyncio.run(orchestrate(request(QUESTION), router, ask))
    assert found.text == "cooking: (no answer: the queue is full)\n\ngardening: Yes."
    assert [part.outcome for part in found.parts] == ["failed", "answered"]
    slow = True
    with pytest.raises(ServingError, match=r"the queue is full|within 0\.05 seconds"):
        asyncio.run(orchestrate(request(QUESTION), router, ask, timeout_seconds=0.05))


def test_a_real_model_is_asked_for_the_plan_and_the_parts(router: Router) -> None:
    """The small base plans nothing that can be used: the clauses are, and everybody answers."""
    loaded = load_model("luthier-nano", dtype="float32")
    renderer = loaded.renderer

    async def ask(specialist: str | None, question: str) -> str:
        prompt = renderer.prompt([Message("user", question)])
        [made] = generate(loaded, [prompt], Sampling(max_new_tokens=8))
        return renderer.decode(made)

    found = asyncio.run(orchestrate(request(QUESTION), router, ask))
    assert found.how == "clauses" and {part.outcome for part in found.parts} == {"answered"}
    assert found.text.startswith("cooking: ") and "\n\ngardening: " in found.text


def test_how_often_clauses_find_both_owners(router: Router) -> None:
    """Two questions that the router has not seen, joined by a word; a third of them lose one would be too many."""
    rng = random.Random(0)
    unseen = {name: [q for q in rows if q not in some(60)[name]] for name, rows in some(100, seed=4).items()}
    right = 0
    for number in range(60):
        first, second = rng.sample(("cooking", "gardening", "banking"), 2)
        one, two = unseen[first][number % 30], unseen[second][number % 30]
        parts = by_clauses(f"{one} Also, {two}", (first, second), router)
        right += [part.specialist for part in parts] == [first, second]
    assert right >= 40
    assert read_plan(GOOD, QUESTION, BOTH) == (
        Part("cooking", "How do I bake a pie?"),
        Part("gardening", "Can you prune the roses for me?"),
    )
