"""Do the rows of a recipe fit the positions of its model? Knows nothing of rows beyond how long they may be."""

from luthier.errors import ConfigError
from luthier.models.load import Source, load_config
from luthier.models.rope import num_positions, scale_positions
from luthier.training.method_config import PrefixMethod, PromptMethod
from luthier.training.recipe import Recipe


def check_length(recipe: Recipe, source: Source | None) -> None:
    """`source`: of a model that is no new one. Raises ConfigError for rows that no position is left for."""
    if recipe.model.new is not None:
        limit = recipe.model.new.context_length
    else:
        assert source is not None
        config = load_config(source.base)
        if recipe.model.rope_scaling is not None:
            scale_positions(config, recipe.model.rope_scaling)
        limit = num_positions(config)
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
