"""The chat template of a run: the tokenizer's own, a family's or a file's, with its options written into it.

Knows nothing of rows and models.
"""

import json
from pathlib import Path
from typing import Any

from luthier.chat.templates import FAMILIES, load_family
from luthier.errors import ConfigError
from luthier.training.recipe import ModelConfig


def choose_template(tokenizer: Any, config: ModelConfig) -> None:
    """Give the tokenizer the template to train with; its options are written into it.

    So the saved template alone says how to render, and every runtime that reads it renders as in training.
    """
    if config.template in FAMILIES:
        tokenizer.chat_template = load_family(config.template).template
    elif config.template is not None:
        path = Path(config.template)
        if not path.is_file():
            known = ", ".join(FAMILIES)
            raise ConfigError(f"model.template: expected a file or one of {known}; got {config.template!r}")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if config.template_options:
        if not isinstance(tokenizer.chat_template, str):
            raise ConfigError(
                "model.template_options: this tokenizer has no single chat template to set them in"
            )
        options = "".join(
            f"{{%- set {name} = {'none' if value is None else json.dumps(value)} -%}}"
            for name, value in config.template_options.items()
        )
        tokenizer.chat_template = options + tokenizer.chat_template
