"""Generation: what a batch, a stream, a seed and a model's own settings may change, and what not."""

import pytest
import torch
from transformers import GenerationConfig

from luthier.errors import ModelError
from luthier.models.generate import Sampling, generate, stream
from luthier.models.load import LoadedModel, load_model
from tests.training.toys import model_folder

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17, 18, 19]]
GREEDY = Sampling(max_new_tokens=12)
HOT = Sampling(temperature=1.5, max_new_tokens=12, seed=3)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = model_folder(tmp_path_factory.mktemp("m"))
    loaded = load_model(str(folder), dtype="float32", device="cpu")
    with torch.no_grad():  # larger weights: answers that do not repeat one token
        for parameter in loaded.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return loaded


def test_a_batch_answers_as_one_by_one(loaded: LoadedModel) -> None:
    together = generate(loaded, PROMPTS, GREEDY)
    assert together == [generate(loaded, [prompt], GREEDY)[0] for prompt in PROMPTS]
    assert len({tuple(ids) for ids in together}) == 3
    assert generate(loaded, [], GREEDY) == []


def test_greedy_is_the_argmax_of_the_model(loaded: LoadedModel) -> None:
    ids = list(PROMPTS[0])
    with torch.no_grad():
        for _ in range(5):
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert generate(loaded, [PROMPTS[0]], Sampling(max_new_tokens=5))[0] == ids[4:]


def test_a_stop_id_ends_its_row_alone(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    free = generate(loaded, PROMPTS, GREEDY)
    stop = free[0][3]
    monkeypatch.setattr(type(loaded.renderer), "stop_ids", (stop,))
    for row, before in zip(generate(loaded, PROMPTS, GREEDY), free, strict=True):
        end = before.index(stop) + 1 if stop in before else len(before)
        assert row == before[:end]


def test_sampling_follows_its_seed_and_leaves_torch_alone(loaded: LoadedModel) -> None:
    state = torch.get_rng_state()
    first = generate(loaded, PROMPTS, HOT)
    torch.rand(3)
    state_after = torch.get_rng_state()
    assert generate(loaded, PROMPTS, HOT) == first
    assert torch.equal(torch.get_rng_state(), state_after)
    assert not torch.equal(state, state_after)
    assert generate(loaded, PROMPTS, Sampling(temperature=1.5, max_new_tokens=12, seed=4)) != first


@pytest.mark.parametrize("sampling", [GREEDY, HOT])
def test_a_stream_is_the_same_answer(loaded: LoadedModel, sampling: Sampling) -> None:
    assert list(stream(loaded, PROMPTS[0], sampling)) == generate(loaded, [PROMPTS[0]], sampling)[0]


def test_a_stream_can_be_closed(loaded: LoadedModel) -> None:
    tokens = stream(loaded, PROMPTS[0], Sampling(max_new_tokens=500))
    assert next(tokens) == generate(loaded, [PROMPTS[0]], GREEDY)[0][0]
    tokens.close()  # type: ignore[attr-defined]


def test_the_context_bounds_prompt_and_answer(loaded: LoadedModel) -> None:
    with pytest.raises(ModelError, match="1024 tokens leaves no room"):
        generate(loaded, [[5] * 1024], GREEDY)
    with pytest.raises(ModelError, match="leaves no room"):
        list(stream(loaded, [5] * 2000, GREEDY))
    assert len(generate(loaded, [[5] * 1020], GREEDY)[0]) <= 4


@pytest.mark.parametrize("sampling", [GREEDY, HOT])
def test_the_models_own_settings_change_nothing(loaded: LoadedModel, sampling: Sampling) -> None:
    before = generate(loaded, PROMPTS, sampling)
    shipped = GenerationConfig(
        num_beams=3, no_repeat_ngram_size=1, suppress_tokens=[before[0][0]], min_p=0.9, min_new_tokens=12
    )
    loaded.model.generation_config = shipped
    try:
        assert generate(loaded, PROMPTS, sampling) == before
        assert loaded.model.generation_config is shipped
    finally:
        loaded.model.generation_config = GenerationConfig()
