"""OpenAI's API with OpenAI's own client, against a real server."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from luthier.models.generate import Sampling, generate
from luthier.models.load import load_model
from luthier.registry.specialists import SpecialistStore
from tests.serving.server import Running, Settings, running
from tests.serving.toys import BASE_ROWS, CLOCK, RUGBY_PROMPT

Toy = tuple[SpecialistStore, Path]


@pytest.fixture(scope="module")
def server(toy: Toy) -> Iterator[Running]:
    with running(toy, Settings(cache_bytes=100_000)) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def said(client: openai.OpenAI, model: str, question: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], temperature=0, **more
    )


def test_each_specialist_and_the_base_answer_as_they_learnt(client: openai.OpenAI) -> None:
    answers = {name: said(client, name, "Who are you?") for name in ("toy-base", "rugby", "units", "rugby@1")}
    texts = {name: answer.choices[0].message.content for name, answer in answers.items()}
    assert texts == {
        "toy-base": "I am the base. 🙂 日本!",
        "rugby": "I am rugby.",
        "units": '{"am": "units"}',
        "rugby@1": "I am rugby.",
    }
    assert answers["rugby"].choices[0].finish_reason == "stop"
    assert answers["rugby"].luthier["specialist"] == "rugby@1" and answers["rugby"].model == "rugby"


def test_the_ids_are_those_of_the_token_path(client: openai.OpenAI, toy: Toy) -> None:
    loaded = load_model(str(toy[1]), dtype="float32")
    prompt = loaded.renderer.prompt(BASE_ROWS[2].prompt)
    ids = generate(loaded, [prompt], Sampling())[0]
    answer = said(client, "toy-base", "Count.")
    assert answer.choices[0].message.content == loaded.renderer.parse(ids).text
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), len(ids))


def test_a_stream_gives_the_same_answer_in_parts(client: openai.OpenAI) -> None:
    whole = said(client, "toy-base", "Who are you?")
    chunks = list(said(client, "toy-base", "Who are you?", stream=True, seed=1, max_tokens=40))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content and len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[0].luthier["specialist"] is None and chunks[-1].luthier["decision"] == "named"
    assert {chunk.usage for chunk in chunks} == {None}
    assert not any("\N{REPLACEMENT CHARACTER}" in (c.choices[0].delta.content or "") for c in chunks)


def test_include_usage_ends_a_stream_with_it(client: openai.OpenAI) -> None:
    chunks = list(said(client, "rugby", "Who are you?", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 3
    assert chunks[-1].usage == said(client, "rugby", "Who are you?").usage


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called(client: openai.OpenAI, stream: bool) -> None:
    answer = said(client, "toy-base", "What time is it?", tools=[CLOCK], stream=stream)
    if stream:
        chunks = list(answer)
        (call,) = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        reason = chunks[-1].choices[0].finish_reason
    else:
        (call,), reason = answer.choices[0].message.tool_calls, answer.choices[0].finish_reason
    assert call.function.name == "clock" and json.loads(call.function.arguments) == {"zone": "UTC"}
    assert reason == "tool_calls" and call.id.startswith("call_")


def test_no_tool_is_offered_under_tool_choice_none(client: openai.OpenAI) -> None:
    plain = said(client, "toy-base", "Count.", max_tokens=4)
    none = said(client, "toy-base", "Count.", tools=[CLOCK], tool_choice="none", max_tokens=4)
    assert none.usage.prompt_tokens == plain.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        said(client, "toy-base", "Count.", tools=[CLOCK], tool_choice="required")


@pytest.mark.parametrize("stream", [False, True])
def test_stop_texts_end_an_answer_and_are_not_shown(client: openai.OpenAI, stream: bool) -> None:
    answer = said(client, "toy-base", "Count.", stop=["ee, f", "nowhere"], stream=stream)
    if stream:
        chunks = list(answer)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, reason) == ("One, two, thr", "stop")


def test_max_tokens_cut_and_several_answers(client: openai.OpenAI) -> None:
    answer = said(client, "toy-base", "Count.", max_completion_tokens=3, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage.completion_tokens == 9
    chunks = list(said(client, "toy-base", "Count.", n=2, stream=True))
    for index in (0, 1):
        mine = [c.choices[0] for c in chunks if c.choices[0].index == index]
        assert "".join(c.delta.content or "" for c in mine) == "One, two, three, four, five, six, seven."


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_held_to_a_schema_in_its_order(client: openai.OpenAI, stream: bool) -> None:
    fields = {"word": {"enum": ["red", "blue"]}, "age": {"type": "integer", "minimum": 1, "maximum": 9}}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    answer = said(client, "toy-base", "Count.", response_format=wanted, stream=stream, max_tokens=60)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    value = json.loads(text)
    assert list(value) == ["word", "age"] and value["word"] in ("red", "blue") and 1 <= value["age"] <= 9
    with pytest.raises(openai.BadRequestError, match="response_format"):
        bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
        said(client, "toy-base", "Count.", response_format=bad)


def test_logprobs_are_those_of_the_model(client: openai.OpenAI, toy: Toy) -> None:
    import torch

    loaded = load_model(str(toy[1]), dtype="float32")
    prompt = loaded.renderer.prompt(BASE_ROWS[2].prompt)
    ids = generate(loaded, [prompt], Sampling())[0]
    with torch.inference_mode():
        logits_TV = loaded.model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0]
    twin_TV = logits_TV.double().log_softmax(-1)[len(prompt) - 1 : -1]
    answer = said(client, "toy-base", "Count.", logprobs=True, top_logprobs=2)
    shown = answer.choices[0].logprobs.content
    assert len(shown) == len(ids) - 1 and shown[0].token == loaded.renderer.decode(ids[:1])
    for place, (one, token) in enumerate(zip(shown, ids, strict=False)):
        assert one.logprob == pytest.approx(float(twin_TV[place, token]), abs=1e-4)
        best = twin_TV[place].topk(2)
        assert [top.logprob for top in one.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-3)
    chunks = list(said(client, "toy-base", "Count.", logprobs=True, stream=True, stop=["four"]))
    streamed = [
        one for chunk in chunks if chunk.choices[0].logprobs for one in chunk.choices[0].logprobs.content
    ]
    assert "four" not in "".join(one.token for one in streamed)


def test_seeds_repeat(client: openai.OpenAI) -> None:
    def warm(seed: int) -> list[str]:
        answer = client.chat.completions.create(
            model="toy-base",
            messages=[{"role": "user", "content": "Zebra quince, 7 & 9?"}],
            temperature=2.0,
            seed=seed,
            n=2,
            max_tokens=30,
        )
        return [choice.message.content for choice in answer.choices]

    assert warm(3) == warm(3) != warm(4) and len(set(warm(3))) == 2


def test_the_system_prompt_of_the_specialist_rules_and_another_is_flagged(
    client: openai.OpenAI, server: Running
) -> None:
    own = client.chat.completions.create(
        model="rugby",
        messages=[
            {"role": "system", "content": RUGBY_PROMPT},
            {"role": "user", "content": "How wide is it?"},
        ],
    )
    bare = said(client, "rugby", "How wide is it?")
    assert own.choices[0].message.content == bare.choices[0].message.content == "68 metres."
    assert own.usage.prompt_tokens == bare.usage.prompt_tokens and own.luthier["flags"] == []
    other = client.chat.completions.create(
        model="rugby",
        messages=[{"role": "developer", "content": "Be rude."}, {"role": "user", "content": "How wide?"}],
        max_tokens=4,
    )
    assert other.luthier["flags"] == ["system_prompt_differs"]


def test_answers_of_temperature_0_come_from_the_cache(client: openai.OpenAI, server: Running) -> None:
    first, second = (said(client, "units", "2 km in m", max_tokens=30) for _ in range(2))
    assert (first.luthier["from_cache"], second.luthier["from_cache"]) == (False, True)
    assert first.choices[0].message.content == second.choices[0].message.content == '{"m": 2000}'
    assert first.usage == second.usage
    chunks = list(said(client, "units", "2 km in m", max_tokens=30, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == '{"m": 2000}'
    assert chunks[-1].luthier["from_cache"] is True
    assert said(client, "units", "2 km in m", max_tokens=31).luthier["from_cache"] is False


def test_a_raw_text_goes_on(client: openai.OpenAI, toy: Toy) -> None:
    loaded = load_model(str(toy[1]), dtype="float32")
    text = "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nOne, two"
    ids = generate(loaded, [loaded.tokenizer(text)["input_ids"]], Sampling())[0]
    answer = client.completions.create(model="toy-base", prompt=text, max_tokens=60, temperature=0)
    assert answer.choices[0].text == loaded.renderer.decode(ids[:-1]) == ", three, four, five, six, seven."
    chunks = client.completions.create(
        model="toy-base", prompt=text, max_tokens=60, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text


def test_many_at_once_each_get_their_own_answer(client: openai.OpenAI, server: Running) -> None:
    canaries = {"toy-base": "I am the base. 🙂 日本!", "rugby": "I am rugby.", "units": '{"am": "units"}'}

    def ask(number: int) -> tuple[str, str]:
        model = list(canaries)[number % 3]
        answer = said(client, model, "Who are you?", max_tokens=40 + number, stream=number % 2 == 0)
        if number % 2:
            return model, answer.choices[0].message.content
        if number % 10 == 0:  # leaves after the first part
            next(iter(answer))
            answer.close()
            return model, canaries[model]
        return model, "".join(chunk.choices[0].delta.content or "" for chunk in answer)

    with ThreadPoolExecutor(16) as pool:
        for model, text in pool.map(ask, range(48)):
            assert text == canaries[model]
    end = time.monotonic() + 10
    while server.engine.status().active:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_models_are_listed(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert list(models) == ["toy-base", "rugby", "units"]
    assert models["rugby"].luthier["specialist"] == "rugby@1"
    assert client.models.retrieve("units").id == "units"
    with pytest.raises(openai.NotFoundError, match="did you mean 'rugby'"):
        client.models.retrieve("rugbi")


def test_headers_say_who_answered(server: Running) -> None:
    body = {"model": "rugby", "messages": [{"role": "user", "content": "Who are you?"}]}
    for stream in (False, True):
        found = httpx.post(f"{server.url}/v1/chat/completions", json=body | {"stream": stream})
        assert found.headers["x-luthier-specialist"] == "rugby@1"
        assert found.headers["x-luthier-decision"].startswith("named")
    assert server.interactions[-1].specialist == "rugby@1"
    assert found.headers["x-request-id"] == server.interactions[-1].id


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"frequency_penalty": 0.5}, 400, "frequency_penalty"),
    ({"logit_bias": {"1": 2.0}}, 400, "logit_bias"),
    ({"modalities": ["audio"]}, 400, "modalities"),
    ({"n": 17}, 400, "n"),
    ({"n": "3"}, 400, "n"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"temperature": -1}, 400, "temperature"),
    ({"top_logprobs": 3}, 400, "top_logprobs"),
    ({"model": "nobody"}, 404, "model"),
    ({"model": "../../etc/passwd"}, 404, "model"),
    ({"messages": []}, 400, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages"),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}
            ]
        },
        400,
        "messages",
    ),
    ({"messages": [{"role": "user", "content": "long " * 4000}]}, 400, "messages"),
    ({"response_format": {"type": "xml"}}, 400, "response_format"),
    ({"stop": [""]}, 400, "stop"),
    ({"tools": [{"type": "function"}]}, 400, "tools"),
]


@pytest.mark.parametrize(("change", "status", "param"), BAD)
def test_what_cannot_be_done_is_refused_by_name(
    server: Running, change: dict[str, Any], status: int, param: str
) -> None:
    body = {"model": "rugby", "messages": [{"role": "user", "content": "Hi."}]} | change
    found = httpx.post(f"{server.url}/v1/chat/completions", content=json.dumps(body))
    error = found.json()["error"]
    assert found.status_code == status and error["param"] == param, error
    assert error["message"] and set(error) == {"message", "type", "param", "code"}


def test_values_that_ask_for_nothing_are_welcome(server: Running) -> None:
    body = {"model": "rugby", "messages": [{"role": "user", "content": "Who are you?"}]}
    neutral = {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "store": False, "user": "x"}
    found = httpx.post(f"{server.url}/v1/chat/completions", json=body | neutral | {"tools": None})
    assert found.status_code == 200, found.text


@pytest.mark.parametrize("model", ["toy-base", "rugby"])
def test_an_embedding_is_the_mean_of_the_last_layer(client: openai.OpenAI, toy: Toy, model: str) -> None:
    store, base = toy
    texts = ["one metre", "a", "Ünïcode 北京"]
    found = client.embeddings.create(model=model, input=texts)  # it asks for base64 and unpacks it
    place = base if model == "toy-base" else store.opened(store.find(model)) / "model"
    loaded = load_model(str(place), dtype="float32", device="cpu")
    expected = []
    for text in texts:
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            hidden = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0].mean(0)
        expected.append(hidden / hidden.norm())
    got = torch.tensor([one.embedding for one in found.data])
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-4)
    assert [one.index for one in found.data] == [0, 1, 2]
    assert found.usage.prompt_tokens == sum(len(loaded.tokenizer(text)["input_ids"]) for text in texts)


def test_embeddings_come_as_floats_too_and_the_same_each_time(server: Running) -> None:
    body = {"model": "rugby", "input": "one metre", "encoding_format": "float"}
    first, second = (httpx.post(f"{server.url}/v1/embeddings", json=body).json() for _ in range(2))
    assert first == second and sum(one * one for one in first["data"][0]["embedding"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"input": ""}, 400, "the text is empty"),
        ({"input": []}, 400, "expected 1 to 256 texts, got 0"),
        ({"input": ["a"] * 257}, 400, "got 257"),
        ({"input": "a " * 2000}, 400, "is too long"),
        ({"input": [1, 2]}, 400, "input"),
        ({"dimensions": 8}, 400, "dimensions"),
        ({"model": "nobody"}, 404, "nobody"),
    ],
)
def test_what_cannot_be_embedded_is_told(
    server: Running, change: dict[str, Any], status: int, said: str
) -> None:
    found = httpx.post(f"{server.url}/v1/embeddings", json={"model": "rugby", "input": "a"} | change)
    assert found.status_code == status and said in found.json()["error"]["message"]
