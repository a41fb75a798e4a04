"""A forest gives what its rows alone give: loss and every gradient, on every architecture, however it is computed."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from luthier.data.batches import microbatches
from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests
from luthier.models import attention
from luthier.models.attention import use_forest_attention
from luthier.models.forward import causal_parts
from luthier.models.methods import apply_full, apply_lora
from luthier.training.learner import Learner, takes_forests
from luthier.training.loop import LoopConfig, forward_backward
from luthier.training.objectives import OBJECTIVES
from tests.data.test_forest import ROWS, dataset
from tests.toy import ARCHITECTURES, tiny_model
from tests.training.toys import VOCAB, lora_method

EXACT = LoopConfig(1, 1, 1, clip_norm=1e9, compute_dtype=torch.float64)
DENSE, BY_SEGMENT = 10**9, -(10**9)  # what a call costs, so that one way is always the cheaper


def shared_rows() -> TokenDataset:
    """A common head of 14 tokens, longer than the toys' window of 8; a row in a row, twice the same, nothing shared."""
    random = np.random.default_rng(3)
    head = random.integers(0, VOCAB, 14)
    tails = [(14, 7), (14, 3), (9, 6), (14, 0), (0, 15), (5, 12), (1, 4)]
    rows = [np.concatenate([head[:kept], random.integers(0, VOCAB, new)]).tolist() for kept, new in tails]
    return dataset([*rows, rows[0]], seed=1)


def gradients(
    model: Any, rows: TokenDataset, batches: Any, config: LoopConfig = EXACT
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step over all rows, and the gradient of every parameter that trains."""
    model.zero_grad()
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss, _ = forward_backward(learner, OBJECTIVES["sft"], batches, parameters, config)
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(got: Any, expected: Any) -> None:
    assert got[0] == pytest.approx(expected[0], rel=1e-7)
    assert got[1].keys() == expected[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        # Norms compute in float32 whatever the model's dtype; and a gradient that is 0 but for roundings has no scale.
        scale = max(float(gradient.abs().max()), 1e-3 * largest)
        torch.testing.assert_close(got[1][name], gradient, rtol=0, atol=2e-6 * scale, msg=name)


@pytest.mark.parametrize("call_costs", [DENSE, BY_SEGMENT], ids=["dense", "by-segment"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_forest_is_its_rows(architecture: str, call_costs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_CALL_COSTS_PAIRS", call_costs)
    rows = shared_rows()
    model = apply_full(tiny_model(architecture, vocab_size=VOCAB), torch.float64).eval()
    alone = [batch for i in range(rows.num_rows) for batch in microbatches(rows, [i], 1000)]
    expected = gradients(model, rows, alone)
    use_forest_attention(model)
    for budget in (1000, 30):
        planted = forests(rows, range(rows.num_rows), budget)
        assert (len(planted) > 1) == (budget == 30)
        assert_same(gradients(model, rows, planted), expected)
    assert sum(f.num_nodes for f in forests(rows, range(rows.num_rows), 1000)) < rows.num_tokens


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_forest_is_its_rows_under_an_adapter(method: str) -> None:
    rows = shared_rows()
    model = apply_lora(
        tiny_model("qwen3", vocab_size=VOCAB).double(), lora_method(method), "toy", torch.float64
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)  # as it stands after some steps, not 0 as at the start
    model.eval()
    expected = gradients(model, rows, microbatches(rows, range(rows.num_rows), 1000))
    use_forest_attention(model)
    assert_same(gradients(model, rows, forests(rows, range(rows.num_rows), 1000)), expected)


def test_a_forest_is_its_rows_with_layers_computed_again() -> None:
    """Under gradient checkpointing, layers run again in the backward pass: they must find the same layout."""
    rows = shared_rows()
    model = apply_full(tiny_model("llama", vocab_size=VOCAB), torch.float64)
    use_forest_attention(model)
    planted = forests(rows, range(rows.num_rows), 1000)
    expected = gradients(model, rows, planted)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    assert_same(gradients(model, rows, planted), expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, by_segment=st.booleans(), budget=st.sampled_from([1000, 9]))
def test_any_forest_is_its_rows(
    rows: list[list[int]], by_segment: bool, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_CALL_COSTS_PAIRS", BY_SEGMENT if by_segment else DENSE)
    data = dataset(rows)
    if data.num_supervised == 0 or all(not data.row(i)[1][1:].any() for i in range(data.num_rows)):
        return
    model = apply_full(tiny_model("mistral", vocab_size=VOCAB), torch.float64)
    use_forest_attention(model)
    padded = gradients(model, data, microbatches(data, range(data.num_rows), 1000))
    assert_same(gradients(model, data, forests(data, range(data.num_rows), budget)), padded)


def test_outside_a_forest_the_model_answers_as_before() -> None:
    ids = torch.arange(24).reshape(2, 12)
    for architecture in ("llama", "mistral", "gemma2"):
        model = tiny_model(architecture, vocab_size=VOCAB)
        with torch.no_grad():
            expected = model(input_ids=ids).logits
            use_forest_attention(model)
            torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)
            generated = model.generate(ids, max_new_tokens=4, do_sample=False)
        assert generated.shape == (2, 16)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_probe_accepts_what_is_exact(architecture: str) -> None:
    model = tiny_model(architecture, vocab_size=VOCAB)
    use_forest_attention(model)
    assert takes_forests(Learner(model, causal_parts(model), torch.device("cpu"))) is None


def test_the_probe_refuses_a_model_that_reads_its_sequence_otherwise() -> None:
    """A state-space model carries state from token to token; a model whose attention is its own sees its neighbours."""
    model = tiny_model("llama", vocab_size=VOCAB)  # sdpa: the forest's layout is not read
    reason = takes_forests(Learner(model, causal_parts(model), torch.device("cpu")))
    assert reason is not None and "differ" in reason
