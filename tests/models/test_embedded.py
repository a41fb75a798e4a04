"""luthier-nano is in the package, small, whole, and answers in turns."""

import pytest

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.chat.templates import load_family
from luthier.models.embedded import DEFAULT_MODEL, EMBEDDED
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel, load_model
from luthier.models.methods import count_parameters

FOLDER = EMBEDDED[DEFAULT_MODEL].folder


@pytest.fixture(scope="module")
def nano() -> LoadedModel:
    return load_model(DEFAULT_MODEL, dtype="float32")


def test_it_ships_with_its_papers_and_is_small() -> None:
    weights = list(FOLDER.glob("*.safetensors"))
    assert [path.name for path in weights] == ["model.safetensors"]
    assert weights[0].stat().st_size <= 12e6
    for name in ("README.md", "NOTICE", "NOTICE-african-storybook.md", "chat_template.jinja"):
        assert (FOLDER / name).stat().st_size > 0, name
    assert {path.name for path in (FOLDER / "training").iterdir()} >= {"pretrain.jsonl", "chat.jsonl"}


def test_its_shape_is_the_one_of_the_card(nano: LoadedModel) -> None:
    assert count_parameters(nano.model) == (5_770_496, 5_770_496)
    assert (nano.context_length, len(nano.tokenizer)) == (1024, 4096)
    assert nano.tokenizer.chat_template == load_family("chatml").template
    assert nano.renderer.stop_ids == tuple(
        nano.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    )


@pytest.mark.parametrize("question", ["Hello!", "Who are you?", "Thank you.", "Name three animals."])
def test_it_answers_in_a_turn_and_stops(nano: LoadedModel, question: str) -> None:
    prompt = nano.renderer.prompt([Message("user", question)])
    (ids,) = generate(nano, [prompt], Sampling(max_new_tokens=100))
    answer = nano.renderer.parse(ids)
    assert answer.termination is Termination.CLEAN and answer.text.strip()
