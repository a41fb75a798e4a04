"""Which model a run begins with. Knows nothing of how it is loaded."""

from typing import Any

from pydantic import Field, model_validator

from luthier.config import Config
from luthier.models.rope import RopeScaling
from luthier.training.method_config import Positive


class NewModelConfig(Config):
    """A fresh Llama architecture; the vocabulary's size is the tokenizer's."""

    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_kv_heads: Positive
    context_length: Positive
    rope_theta: float = 10000.0
    tie_embeddings: bool = True


class ModelConfig(Config):
    """Which model: a `name` (embedded, folder, hub id) or a `new` architecture with a `tokenizer` folder.

    `stream`: are its frozen lower layers loaded one at a time, and never together?
    """

    name: str | None = None
    new: NewModelConfig | None = None
    tokenizer: str | None = None
    stream: bool = False
    template: str | None = None
    template_options: dict[str, Any] = Field(default_factory=dict)
    rope_scaling: RopeScaling | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "ModelConfig":
        if (self.name is None) == (self.new is None):
            raise ValueError("give either a name or a new architecture (model.name or model.new)")
        if self.new is not None and self.tokenizer is None:
            raise ValueError("a new architecture needs a tokenizer folder (model.tokenizer)")
        if self.name is not None and self.tokenizer is not None:
            raise ValueError("a model that has a name brings its tokenizer: leave model.tokenizer out")
        if self.new is not None and self.rope_scaling is not None:
            raise ValueError("a new architecture has as many positions as you say (model.new.context_length)")
        return self
