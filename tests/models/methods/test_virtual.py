"""Virtual tokens: what the trainer computes is what PEFT computes, loss and gradients, in float64."""

from typing import Any

import pytest
import torch

from luthier.chat.render import Renderer
from luthier.data.batches import microbatches
from luthier.errors import ConfigError
from luthier.models.forward import causal_parts
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel, Source
from luthier.models.methods import apply_method
from luthier.training.learner import Learner, choose_cut
from luthier.training.loop import LoopConfig, forward_backward
from luthier.training.objectives import OBJECTIVES
from tests.toy import ARCHITECTURES, byte_tokenizer, tiny_model
from tests.training.toys import VOCAB, method_config, random_rows

EXACT = LoopConfig(1, 1, 1, clip_norm=1e9, compute_dtype=torch.float64)


def adapted(architecture: str, method: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = tiny_model(architecture, vocab_size=VOCAB).double()
    return apply_method(model, method_config(method, **changes), "toy", torch.float64).eval()


@pytest.mark.parametrize(
    ("method", "changes"), [("prompt", {}), ("prefix", {}), ("prefix", {"projection_size": 8})]
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_peft(architecture: str, method: str, changes: Any) -> None:
    model = adapted(architecture, method, **changes)
    rows = random_rows([5, 9, 21, 3])
    rows.weights[rows.weights != 0] = 1.0
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss, norm = forward_backward(
        learner, OBJECTIVES["sft"], microbatches(rows, range(4), 1000), parameters, EXACT
    )
    got = [p.grad.clone() for p in parameters]
    assert norm > 0
    model.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for index in range(rows.num_rows):
        ids, weights = (torch.from_numpy(part.copy()) for part in rows.row(index))
        out = model(input_ids=ids.long()[None], attention_mask=torch.ones(1, len(ids)))
        logits = out.logits[0, -len(ids) :]
        losses = torch.nn.functional.cross_entropy(logits[:-1], ids.long()[1:], reduction="none")
        total = total + (losses * weights[1:]).sum() / rows.num_supervised
    total.backward()
    assert loss == pytest.approx(total.item(), rel=1e-6)
    for mine, parameter in zip(got, parameters, strict=True):
        # Norms of transformers compute in float32 whatever the model's dtype is.
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(mine, parameter.grad, rtol=0, atol=1e-5 * scale + 1e-12)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_rows_are_padded_and_that_is_said(method: str) -> None:
    model = adapted("llama", method)
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    cut, notes = choose_cut(learner, "auto")
    assert cut is microbatches and "virtual tokens" in notes[0]
    with pytest.raises(ConfigError, match="virtual tokens"):
        choose_cut(learner, "forest")


def test_a_prompt_starts_as_words_of_the_vocabulary() -> None:
    model = adapted("llama", "prompt")
    words = model.get_base_model().get_input_embeddings().weight
    for row in model.prompt_encoder["default"].embedding.weight:
        assert (words.double() - row).abs().sum(1).min() < 1e-6


def test_a_prefix_under_gradient_checkpointing_is_an_error() -> None:
    model = adapted("llama", "prefix")
    parts = causal_parts(model)
    model.get_base_model().gradient_checkpointing_enable()
    with pytest.raises(ConfigError, match="prefix would be lost"):
        parts.hidden_states(torch.arange(5)[None])


@pytest.mark.parametrize("method", ["prompt", "prefix"])
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2"])
def test_generation_is_the_greedy_path_of_the_trained_function(architecture: str, method: str) -> None:
    """Prompts of several lengths in one call, against one full forward pass for each token."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    model = tiny_model(architecture, vocab_size=len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)  # attention that sees where things stand
        model = apply_method(model, method_config(method), "toy", torch.float32).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    loaded = LoadedModel(
        model, tokenizer, Renderer(tokenizer), Source("toy", "toy"), torch.device("cpu"), torch.float32
    )
    assert loaded.context_length == 1024 - 4
    prompts = [[5, 6, 7, 8, 9, 10], [40, 41], [90, 91, 92, 93, 94, 95], [70, 71, 72]]
    answers = generate(loaded, prompts, Sampling(max_new_tokens=6))
    parts = causal_parts(model)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for token in answer:
            with torch.no_grad():
                hidden = parts.hidden_states(torch.tensor([ids]))[0, -1:]
                assert int(parts.head().logits(hidden).argmax()) == token
            ids.append(token)
