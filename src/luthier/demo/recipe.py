"""How the demo trains, what its specialist has to show, and the prompts that its untuned base is given.

Data, not code: the pipeline reads it. Knows nothing of training.
"""

from typing import Any

_SHARED: dict[str, Any] = {
    "train": {"epochs": 3, "batch_size": 16},
    "evaluation": {"per_epoch": 1, "max_new_tokens": 48},
}

# By the name of the method. An adapter can be served beside others on the base that they share.
RECIPES: dict[str, dict[str, Any]] = {
    "lora": {
        **_SHARED,
        "method": {"name": "lora", "rank": 64, "alpha": 128, "dropout": 0.0},
        "optim": {"learning_rate": 3e-3, "schedule": "cosine"},
    },
    "full": {
        **_SHARED,
        "method": {"name": "full"},
        "optim": {"learning_rate": 1e-3, "schedule": "cosine"},
    },
}

# The second specialist.
UNITS_RECIPE: dict[str, Any] = {
    "method": {"name": "lora", "rank": 32, "alpha": 64, "dropout": 0.0},
    "optim": {"learning_rate": 5e-3, "schedule": "cosine"},
    "train": {"epochs": 2, "batch_size": 16},
    "evaluation": {"per_epoch": 1},
}

# luthier-nano passes too few of the general questions to measure what a specialist forgets.
POLICY: dict[str, Any] = {"forgetting": {"required": False}}

# Each is tried on the validation items; the best one meets the tuned model on the test items.
PROMPTS: dict[str, str] = {
    "facts": "{facts}",
    "facts and an instruction": "{facts}\nAnswer the question in one short sentence, using these facts.",
}
