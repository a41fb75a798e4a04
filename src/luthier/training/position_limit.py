"""That rows, with what a method puts before them, fit the positions a model was made for. Knows nothing of weights."""

from luthier.errors import ConfigError
from luthier.models.load import Source, load_config
from luthier.training.method_config import PrefixMethod, PromptMethod
from luthier.training.recipe import Recipe


def check_length(recipe: Recipe, source: Source | None) -> None:
    if recipe.model.new is not None:
        limit = recipe.model.new.context_length
    else:
        assert source is not None
        limit = int(getattr(load_config(source.base), "max_position_embeddings", 0) or 0)
    virtual = recipe.method.num_tokens if isinstance(recipe.method, PromptMethod | PrefixMethod) else 0
    if limit and recipe.data.max_length + virtual > limit:
        if virtual:
            raise ConfigError(
                f"data.max_length is {recipe.data.max_length} and method.num_tokens {virtual}, but this model was made "
                f"for {limit} positions"
            )
        raise ConfigError(
            f"data.max_length is {recipe.data.max_length}, but this model was made for {limit} positions"
        )
