"""Endpoints as answerers, over real HTTP; and what a person may call a model."""

import json
import threading
import time
from pathlib import Path

import pytest

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.errors import ConfigError, EvaluationError, ModelError
from luthier.evaluation.answerers.endpoint import EndpointAnswerer
from luthier.evaluation.answerers.opening import open_answerer
from luthier.evaluation.noise import noise_floor
from luthier.evaluation.runner import evaluate
from luthier.evaluation.samples import by_sampling, pass_at_k_of_results
from luthier.evaluation.speed import Price, Speed, speed_of
from luthier.models.endpoint import Endpoint
from tests.evaluation.calculator import Calculator, sums
from tests.models.chat_server import Raw, Request, chat_server, completion


def calculated(request: Request) -> str:
    """The calculator behind the protocol."""
    messages = [Message(one["role"], one["content"]) for one in request["messages"]]
    return Calculator("served", "plus").answer([messages], request["max_tokens"])[0].text


def answerer(url: str, **settings: float) -> EndpointAnswerer:
    return EndpointAnswerer(Endpoint(url, "served", max_retries=0, **settings), "served")  # type: ignore[arg-type]


def test_an_endpoint_is_evaluated_by_the_same_code_path() -> None:
    items = sums(4, "plus", "times")
    with chat_server(calculated) as (url, seen):
        asked = answerer(url)
        result = evaluate(asked, items, system_prompt="Be brief.", max_new_tokens=40)
        asked.close()
    local = evaluate(Calculator("local", "plus"), items, system_prompt="Be brief.", max_new_tokens=40)
    assert [one.answer for one in result.items] == [one.answer for one in local.items]
    assert [one.verdict for one in result.items] == [one.verdict for one in local.items]
    first = result.items[0]
    assert (first.num_prompt_tokens, first.num_tokens) == (7, 3)  # the server's counts
    assert json.loads(first.prompt) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": items[0].messages[0].content},
    ]
    assert all(request["temperature"] == 0 and "seed" not in request for request in seen)
    assert result.summary()["speed"]["num_tokens"] == 3 * len(items)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", Termination.CLEAN),
        ("length", Termination.LENGTH),
        ("content_filter", Termination.MALFORMED),
        ("tool_calls", Termination.MALFORMED),
    ],
)
def test_how_an_answer_ended_is_the_servers_word(reason: str, word: Termination) -> None:
    with chat_server(lambda _: completion("27", finish_reason=reason)) as (url, _):
        (answered,) = answerer(url).answer([[Message("user", "?")]], 5)
    assert answered.termination is word


def test_requests_go_out_at_once_and_each_has_its_own_latency() -> None:
    arrived = threading.Barrier(3, timeout=20)

    def together(_: Request) -> str:
        arrived.wait()  # breaks unless three requests are here at the same time
        return "27"

    with chat_server(together) as (url, _):
        result = evaluate(answerer(url, max_concurrency=3), sums(3, "plus"))
    assert len(result.items) == 3
    assert all(one.latency_seconds is not None and one.latency_seconds > 0 for one in result.items)


def test_without_the_servers_counts_there_are_no_figures_of_tokens() -> None:
    with chat_server(lambda _: completion("27", usage=False)) as (url, _):
        result = evaluate(answerer(url), sums(2, "plus"))
    speed = speed_of(result.items)
    assert (speed.num_tokens, speed.tokens_per_second, speed.cost(Price(1, 2))) == (None, None, None)
    assert speed.p50_latency_seconds is not None


def test_the_cost_is_the_tokens_at_their_price() -> None:
    speed = Speed(0.1, 0.2, 30.0, num_prompt_tokens=2_000_000, num_tokens=500_000)
    assert speed.cost(Price(0.5, 4.0)) == pytest.approx(2 * 0.5 + 0.5 * 4.0)
    with pytest.raises(ConfigError, match="0 or more"):
        Price(-1, 0)


def test_a_server_that_hangs_is_an_error_that_names_it() -> None:
    def hang(_: Request) -> str:
        time.sleep(2)
        return "late"

    with chat_server(hang) as (url, _), pytest.raises(ModelError, match=r"no answer within 0\.2 s"):
        evaluate(answerer(url, timeout_seconds=0.2), sums(1, "plus"))


def test_a_server_that_wobbles_is_seen_and_a_steady_one_is_not() -> None:
    count = 0

    def wobble(request: Request) -> str:
        nonlocal count
        count += 1
        wobbles = "What is 20" in request["messages"][-1]["content"]
        return "I do not know." if wobbles and count > 5 else calculated(request)

    items = sums(5, "plus")
    with chat_server(wobble) as (url, _):
        floor = noise_floor([evaluate(answerer(url), items) for _ in range(3)])
    assert floor.num_runs == 3
    assert floor.answers_changed == floor.verdicts_changed == pytest.approx(0.2)  # one item of five
    with chat_server(calculated) as (url, _):
        steady = noise_floor([evaluate(answerer(url), items) for _ in range(2)])
    assert (steady.answers_changed, steady.verdicts_changed) == (0.0, 0.0)
    assert steady.verdicts_interval.high > 0  # five items cannot show that it never wobbles
    with pytest.raises(EvaluationError, match="two runs or more"):
        noise_floor([evaluate(Calculator("a"), items)])


def test_samples_have_seeds_and_make_pass_at_k() -> None:
    def lucky(request: Request) -> str:
        return calculated(request) if request["seed"] % 2 else "I do not know."

    items = sums(3, "plus")
    with chat_server(lucky) as (url, seen):
        asked = answerer(url)
        samples = [evaluate(asked, items, asking=by_sampling(asked, 40, 0.7, seed)) for seed in range(4)]
    assert {request["temperature"] for request in seen} == {0.7}
    assert [result.accuracy for result in samples] == [0.0, 1.0, 0.0, 1.0]
    assert (samples[3].settings.decoding, samples[3].settings.seed) == ("sampled", 3)
    assert pass_at_k_of_results(samples, 1).estimate == pytest.approx(0.5)
    assert pass_at_k_of_results(samples, 2).estimate == pytest.approx(
        1 - 1 / 6
    )  # 2 of 4 right: 1 - C(2,2)/C(4,2)
    with pytest.raises(EvaluationError, match="every sample is the same"):
        by_sampling(asked, 40, 0.0, 1)


def test_what_a_name_means(tmp_path: Path) -> None:
    opened = open_answerer("http://localhost:1/v1#m")
    assert opened.name == "http://localhost:1/v1#m" and opened.may_change
    with pytest.raises(EvaluationError, match="ask: generate"):
        opened.scorer()
    opened.close()
    with pytest.raises(ModelError, match="No such file"):
        open_answerer(str(tmp_path / "model.gguf"))
    with pytest.raises(ModelError, match="no such folder"):
        open_answerer(str(tmp_path / "absent"))


def test_a_refusal_is_told_with_the_status() -> None:
    refusal: Raw = (401, {"Content-Type": "application/json"}, b'{"error": {"message": "no such key"}}')
    with chat_server(lambda _: refusal) as (url, _), pytest.raises(ModelError, match=r"401.*no such key"):
        evaluate(answerer(url), sums(1, "plus"))
