"""Choices by likelihood, and texts that are measured, against one token at a time in float64."""

import json
import math
from pathlib import Path

import pytest
import torch

from luthier.chat.messages import Conversation, Message
from luthier.chat.render import Renderer
from luthier.errors import EvaluationError
from luthier.evaluation.bits import bits_per_byte_of
from luthier.evaluation.graders.choice import CHOICE
from luthier.evaluation.runner import evaluate
from luthier.evaluation.tasks.likelihood import ModelScorer, by_likelihood
from luthier.evaluation.tasks.perplexity import load_documents, measure
from luthier.models.load import LoadedModel, Source
from tests.evaluation.graders.items import item
from tests.evaluation.tasks.parrot import Parrot
from tests.toy import byte_tokenizer, tiny_model

QUESTION = (Message("user", "Which one?"), Message("assistant", "Which what?"), Message("user", "City."))


@pytest.fixture
def loaded() -> LoadedModel:
    tokenizer = byte_tokenizer()
    model = tiny_model(vocab_size=len(tokenizer)).double()
    return LoadedModel(
        model, tokenizer, Renderer(tokenizer), Source("toy", "toy"), torch.device("cpu"), torch.float64
    )


def test_the_likelihood_equals_one_token_at_a_time(loaded: LoadedModel) -> None:
    answers = ["Bern", "a much longer answer", "é"]
    found = ModelScorer(loaded).likelihoods([(QUESTION, answer) for answer in answers])
    for answer, likelihood in zip(answers, found, strict=True):
        (rendering,) = loaded.renderer.render(Conversation((*QUESTION, Message("assistant", answer))))
        prompt = loaded.renderer.prompt(QUESTION)
        ids = rendering.token_ids
        assert list(ids[: len(prompt)]) == prompt
        places = [t for t in range(len(prompt), len(ids)) if rendering.weights[t] > 0]
        nats = 0.0
        for t in places:
            with torch.no_grad():
                logits = loaded.model(input_ids=torch.tensor([ids[:t]])).logits[0, -1]
            nats -= float(torch.log_softmax(logits, -1)[ids[t]])
        assert likelihood.log_probability == pytest.approx(-nats, rel=1e-9)
        assert (likelihood.num_tokens, likelihood.num_bytes) == (len(places), len(answer.encode()))
    with pytest.raises(EvaluationError, match="found an empty text"):
        ModelScorer(loaded).likelihoods([(QUESTION, "")])


def test_the_likeliest_choice_per_byte_is_the_answer(loaded: LoadedModel) -> None:
    choices = ["Bern", "Rome", "a city that is much longer"]
    scorer = ModelScorer(loaded)
    one = item("A", "choice", choices=choices)
    scored = scorer.likelihoods([(one.messages, choice) for choice in choices])
    best = max(range(3), key=lambda index: scored[index].log_probability / len(choices[index].encode()))
    result = evaluate(
        Parrot(lambda text: "never asked"), [one], graders={"choice": CHOICE}, asking=by_likelihood(scorer)
    )
    assert result.items[0].answer == choices[best]
    assert result.items[0].score == float(best == 0)
    assert result.settings.decoding == "likelihood"
    assert "log-likelihood per byte: A=" in result.items[0].prompt


def test_perplexity_is_of_the_whole_and_equals_bits_per_byte(loaded: LoadedModel, tmp_path: Path) -> None:
    texts = ["The sky is blue.", "Grass", "Snow is white and cold in winter."]
    path = tmp_path / "texts.jsonl"
    rows = [{"id": str(i), "text": text, "source": "ab"[i % 2]} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents = load_documents(path)
    found = measure(documents, lambda text: bits_per_byte_of(loaded, [text], max_length=64))
    whole = bits_per_byte_of(loaded, texts, max_length=64)
    assert found.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=1e-9)
    assert found.perplexity == pytest.approx(math.exp(whole.nats_per_token), rel=1e-9)
    assert (found.num_documents, found.num_bytes, found.num_tokens) == (3, whole.num_bytes, whole.num_tokens)
    assert found.bits_per_byte_interval.low <= found.bits_per_byte <= found.bits_per_byte_interval.high
    assert found.perplexity_interval.low <= found.perplexity <= found.perplexity_interval.high


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, r"texts\.jsonl:2: field 'id'"),
        ({"id": "x", "text": " "}, r"texts\.jsonl:2: field 'text'"),
        ({"id": "x", "text": "a", "answer": "b"}, "field 'answer': unknown"),
        ({"id": "1", "text": "a"}, "'1' is there already"),
        ({"id": "x", "text": "a", "source": 3}, "field 'source'"),
    ],
)
def test_a_bad_text_is_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"id": "1", "text": "a"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(EvaluationError, match=message):
        load_documents(path)
    path.write_text("")
    with pytest.raises(EvaluationError, match="has no rows"):
        load_documents(path)
