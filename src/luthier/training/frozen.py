"""What a run holds its frozen weights in: the dtype that they compute in, or the narrower one of their files."""

import torch

from luthier.models.stream import weight_files
from luthier.training.recipe import Recipe


def frozen_dtype(recipe: Recipe, place: str, compute_dtype: torch.dtype) -> torch.dtype | None:
    """The dtype to keep linear layers and embeddings in (see models.kept); None where it is the one computed in.

    `train.frozen_dtype: auto` keeps what is streamed, as that is done for memory; but PiSSA changes the base.
    Raises ModelError where the files cannot be read.
    """
    asked = recipe.train.frozen_dtype
    if asked == "compute" or (
        asked == "auto" and not (recipe.model.stream and recipe.method.name != "pissa")
    ):
        return None
    if compute_dtype not in (torch.float32, torch.float64):
        return None  # autocast multiplies weights of any dtype in the one computed in
    stored = weight_files(place).widest_dtype()
    return stored if stored.itemsize < compute_dtype.itemsize else None
