"""Texts as vectors: what the base, or a specialist over it, makes of them in its last layer.

It is the model's own reading of a text, averaged over its tokens, and no sentence embedder that was trained for search.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ServingError
from luthier.serving.engines.engine import Embeds, Engine
from luthier.serving.refusals import BadRequest, TooLong
from luthier.serving.served import Served


@dataclass(frozen=True)
class Embedded:
    """`vectors_NC`: float32 (texts, channels), each of length 1."""

    vectors_NC: NDArray[np.float32]
    num_tokens: int


def read_texts(served: Served, texts: Sequence[str], context_length: int) -> list[tuple[int, ...]]:
    """The ids of each text, without the template. Raises BadRequest and TooLong."""
    prompts = [served.raw_prompt(text, "input").token_ids for text in texts]
    longest = max(map(len, prompts))
    if longest >= context_length:
        raise TooLong(
            f"input: a text of {longest} tokens is too long: {served.model} reads fewer than {context_length}. Cut it "
            "into parts",
            "input",
        )
    return prompts


async def embed(
    engine: Engine, served: Served, prompts: Sequence[tuple[int, ...]], timeout_seconds: float
) -> Embedded:
    """One text after another, so that answers go on between them.

    Raises BadRequest where the engine or the model gives no embeddings, or does not end in time; then what the engine
    raises.
    """
    if not isinstance(engine, Embeds):
        raise BadRequest(f"the engine {engine.name!r} gives no embeddings; the torch engine does", "model")
    try:
        async with asyncio.timeout(timeout_seconds):
            rows = [await engine.embed(served.ref, prompt) for prompt in prompts]
    except TimeoutError as error:
        raise BadRequest(
            f"input: {len(prompts)} texts took more than {timeout_seconds:.0f} s; send fewer at a time",
            "input",
        ) from error
    vectors_NC = np.stack(rows)
    lengths_N1 = np.linalg.norm(vectors_NC, axis=1, keepdims=True)
    if not (np.isfinite(lengths_N1) & (lengths_N1 > 0)).all():
        raise ServingError(f"{served.model}: the hidden states of a text are no finite numbers")
    return Embedded(vectors_NC / lengths_N1, sum(map(len, prompts)))
