"""What a run starts with: the model of its plan with the method applied, and the learner around it.

Knows nothing of steps, files and what is learnt.
"""

from dataclasses import replace
from typing import Any

import torch

from luthier.errors import ConfigError
from luthier.models.experts import expert_load
from luthier.models.fresh import new_model
from luthier.models.kept import keep_as_stored
from luthier.models.lean import make_lean
from luthier.models.load import Source, load_weights
from luthier.models.methods import apply_method
from luthier.models.reward import choose_pad, is_scorer, load_scorer, parts_of, train_head
from luthier.models.stream import load_crown
from luthier.training.frozen import frozen_dtype
from luthier.training.learner import Learner
from luthier.training.method_config import base_quantization
from luthier.training.neftune import EmbeddingNoise
from luthier.training.objectives import make_objective
from luthier.training.plan import Plan
from luthier.training.recipe import Recipe
from luthier.training.streamed import crown_learner


def model_to_train(plan: Plan) -> Any:
    """The model of a plan with its method applied, on its device. First weights come from torch's random state."""
    recipe = plan.recipe
    exact = plan.compute_dtype == torch.float64
    master_dtype = torch.float64 if exact else torch.float32
    if recipe.model.new is not None:
        model = new_model(recipe.model.new, plan.tokenizer)
    else:
        assert plan.source is not None
        if plan.source.adapter is not None:
            raise ConfigError(
                f"{plan.source.name} is an adapter; train on its base, or merge it first (luthier export)"
            )
        model = _load(plan, plan.source)
    model = apply_method(model, recipe.method, recipe.model.name or "", master_dtype)
    make_lean(model)
    if is_scorer(model):
        choose_pad(model, plan.tokenizer)
        train_head(model, master_dtype)
    if recipe.train.gradient_checkpointing:
        # Not reentrant: gradients need no input that requires them, so frozen lower layers cost no backward.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model if recipe.model.stream else model.to(plan.device)


def _load(plan: Plan, source: Source) -> Any:
    """The weights that a run begins with: all of them, the crown alone, or with a head that scores."""
    recipe = plan.recipe
    kept = frozen_dtype(recipe, source.base, plan.compute_dtype)
    if recipe.model.stream:
        num_layers = int(getattr(recipe.method, "num_layers", 0))
        return load_crown(source.base, num_layers, plan.compute_dtype, plan.device, kept)
    if make_objective(recipe.objective).scores:
        model = load_scorer(source.base, kept or plan.compute_dtype)
    else:
        model = load_weights(
            source.base,
            kept or plan.compute_dtype,
            rope_scaling=recipe.model.rope_scaling,
            quantization=base_quantization(recipe.method),
            device=plan.device,
        )
    if kept is not None:
        keep_as_stored(model, kept, plan.compute_dtype)
    return model


def learner_of(plan: Plan, model: Any) -> Learner:
    noise = _noise(model, plan.recipe)
    if plan.recipe.model.stream:
        return replace(crown_learner(model, plan.device), noise=noise)
    return Learner(model, parts_of(model), plan.device, noise, experts=expert_load(model))


def _noise(model: Any, recipe: Recipe) -> EmbeddingNoise | None:
    alpha = recipe.train.neftune_alpha
    return EmbeddingNoise(model.get_input_embeddings(), alpha) if alpha is not None else None
