"""The methods side by side: what each trains, costs and risks, and where its numbers come from.

One typed table, which `luthier methods` prints and the recipe takes its learning rates from. Knows nothing of torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Risk = Literal["low", "medium", "high"]


@dataclass(frozen=True)
class MethodFacts:
    """What to know of a method before it is chosen.

    memory: beyond the weights and activations, what is held for training. inference: what an answer costs beyond the
    base's. mergeable: can it become plain weights? together: can one server hold many of them over one base?
    packing: can its rows share a forest? forgetting: how much of what the base knew is at risk.
    learning_rate: the default; rate_from says whose.
    """

    trains: str
    memory: str
    inference: str
    mergeable: bool
    together: bool
    packing: Literal["forest", "padding"]
    forgetting: Risk
    learning_rate: float
    rate_from: str
    paper: str


_ADAPTER = "gradient and optimizer of the adapter"
_NONE = "none"
_LORA_PAPER = "Hu et al. 2021, arXiv:2106.09685"

METHODS: Mapping[str, MethodFacts] = {
    "full": MethodFacts(
        "every weight",
        "float32 weights, gradient and optimizer of all",
        _NONE, True, False, "forest", "high", 2e-5, "usual for AdamW", "none: plain training",
    ),
    "top_layers": MethodFacts(
        "the last layers, the final norm, an untied head",
        "float32 weights, gradient and optimizer of these layers",
        _NONE, True, False, "forest", "medium", 2e-5, "as full", "none: plain training",
    ),
    "freeze": MethodFacts(
        "the parameters that your patterns name",
        "float32 weights, gradient and optimizer of these",
        _NONE, True, False, "forest", "medium", 2e-5, "as full", "none: plain training",
    ),
    "lora": MethodFacts(
        "two thin matrices beside each linear layer", _ADAPTER, "two thin products, none once merged",
        True, True, "forest", "low", 2e-4, "QLoRA, arXiv:2305.14314", _LORA_PAPER,
    ),
    "dora": MethodFacts(
        "as lora, and the length of each output", f"{_ADAPTER}, more activations",
        "as lora and a norm of each matrix, none once merged",
        True, False, "forest", "low", 2e-4, "as lora", "Liu et al. 2024, arXiv:2402.09353",
    ),
    "rslora": MethodFacts(
        "as lora, scaled by the root of the rank", _ADAPTER, "two thin products, none once merged",
        True, True, "forest", "low", 2e-4, "as lora", "Kalajdzievski 2023, arXiv:2312.03732",
    ),
    "qlora": MethodFacts(
        "as lora, over a base held in 4 or 8 bits",
        f"{_ADAPTER}; linear layers take 4.1 bits a weight (nf4) or 8",
        "as lora: the adapter is served and merged on the base in full precision",
        True, True, "forest", "low", 2e-4, "the paper", "Dettmers et al. 2023, arXiv:2305.14314",
    ),
    "pissa": MethodFacts(
        "the principal part of each linear layer, as thin matrices", f"{_ADAPTER}, and a copy of its start",
        "as lora of twice the rank, none once merged",
        True, True, "forest", "medium", 2e-5, "the paper", "Meng et al. 2024, arXiv:2404.02948",
    ),
    "ia3": MethodFacts(
        "a factor for each channel of keys, values, feed-forward", "very little",
        "products by a vector, none once merged",
        True, False, "forest", "low", 3e-3, "the paper", "Liu et al. 2022, arXiv:2205.05638",
    ),
    "adapter": MethodFacts(
        "a small network behind the sublayers", _ADAPTER, "two thin products behind each sublayer, always",
        False, False, "forest", "low", 1e-4, "chosen here, not tuned", "Houlsby et al. 2019, arXiv:1902.00751",
    ),
    "prompt": MethodFacts(
        "embeddings before the sequence", "very little", "the virtual tokens, in every sequence",
        False, False, "padding", "low", 3e-2, "chosen here, not tuned", "Lester et al. 2021, arXiv:2104.08691",
    ),
    "prefix": MethodFacts(
        "keys and values before the sequence, in every layer", "little", "attention to the virtual tokens",
        False, False, "padding", "low", 1e-2, "chosen here, not tuned", "Li and Liang 2021, arXiv:2101.00190",
    ),
}  # fmt: skip
