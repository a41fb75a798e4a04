"""The models that ship inside the package, and what they suggest for training.

`luthier-nano` was trained by this project with the product's own commands (see recipes/base).
This file knows where they lie; it knows nothing of loading them.
"""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

DEFAULT_MODEL = "luthier-nano"


@dataclass(frozen=True)
class EmbeddedModel:
    """A model inside the package. `training_defaults` are recipe values that suit it better than the field's."""

    name: str
    summary: str
    training_defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(str(files("luthier.models"))) / "embedded_weights" / self.name


EMBEDDED: dict[str, EmbeddedModel] = {
    DEFAULT_MODEL: EmbeddedModel(
        DEFAULT_MODEL,
        "5.8 M parameters, Llama architecture, English, context 1024: for trying every command offline",
        training_defaults={
            "method": {"name": "full"},
            "optim": {"learning_rate": 1e-3},
        },
    )
}
