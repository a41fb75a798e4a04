"""The router: a linear classifier over a question's features, a temperature, and two thresholds. A folder of two files.

    p = softmax((x W + b) / T)         over the specialists and the general class

T is fitted on questions that the weights never saw (temperature scaling, Guo et al. 2017, arXiv:1706.04599). A decision
costs the rows of W that the question touches, so a thousand specialists are hardly slower than ten. Needs no torch.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import softmax

from luthier.errors import ServingError
from luthier.files import atomic_directory, write_json_atomic
from luthier.serving.router.decision import Decision, Word
from luthier.serving.router.features import Embed, counts, strongest, weighted, with_meaning

FORMAT = 1
GENERAL = "base"  # the class of what belongs to no specialist
_WEIGHTS, _SETTINGS = "router.safetensors", "router.json"


@dataclass(frozen=True)
class Thresholds:
    """`general`: at this probability of being nobody's, the base answers. `sure`: what one specialist must reach.
    `shared`: what a second one must reach to be named beside the first."""

    general: float = 0.5
    sure: float = 0.4
    shared: float = 0.25


@dataclass(frozen=True)
class Router:
    """weights_FC (features, classes): of a question's features, the rows it touches are read. The last class is
    GENERAL. `trained_on`: how many questions of each class, and the hash of all of them. `embed`: set where the router
    reads meaning too, whose weights are the rows behind those of idf_F."""

    specialists: tuple[str, ...]
    weights_FC: NDArray[np.float32]
    bias_C: NDArray[np.float32]
    idf_F: NDArray[np.float32]
    temperature: float
    thresholds: Thresholds
    trained_on: dict[str, Any]
    embed: Embed | None = None

    def vectors(self, texts: Sequence[str]) -> csr_matrix:
        """(N, features): texts as this router reads them."""
        words = weighted(counts(texts, len(self.idf_F) // 2), self.idf_F)
        return words if self.embed is None else with_meaning(words, texts, self.embed)

    def logits(self, vectors: csr_matrix) -> NDArray[np.float64]:
        """(N, C) of N weighted texts, before the temperature."""
        return np.asarray(vectors @ self.weights_FC, dtype=np.float64) + self.bias_C

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N, C), the last column for GENERAL."""
        logits_NC = self.logits(self.vectors(texts))
        return np.asarray(softmax(logits_NC / self.temperature, axis=1))

    def route(self, text: str) -> Decision:
        """Who answers this question."""
        return self.decide(self.probabilities([text])[0])

    def decide(self, p_C: NDArray[np.float64]) -> Decision:
        """The decision that probabilities give."""
        general, own = float(p_C[-1]), p_C[:-1]
        first = int(own.argmax())
        name, probability = self.specialists[first], float(own[first])
        near = [int(k) for k in np.flatnonzero(own >= self.thresholds.shared) if k != first]
        others = tuple(self.specialists[k] for k in sorted(near, key=lambda k: -own[k]))
        shown = {self.specialists[k]: float(own[k]) for k in np.argsort(-own)[:5]} | {GENERAL: general}
        if general >= self.thresholds.general:
            why = f"{general:.0%} that it is no specialist's matter"
            return Decision(Word.BASE, None, general, why, others, shown)
        if others:
            why = f"{probability:.0%} {name}, and {', '.join(f'{shown[o]:.0%} {o}' for o in others if o in shown)}"
            return Decision(Word.SHARED, name, probability, why, others, shown)
        if probability < self.thresholds.sure:
            why = f"{name} is the likeliest with {probability:.0%}, under {self.thresholds.sure:.0%}"
            return Decision(Word.UNSURE, None, probability, why, (name,), shown)
        return Decision(Word.ROUTED, name, probability, f"{probability:.0%} {name}", (), shown)

    def explain(self, text: str, specialist: str) -> list[tuple[str, float]]:
        """The words and pieces of a text that speak for a specialist against the others' mean, the largest first."""
        if specialist not in self.specialists:
            raise ServingError(
                f"expected a specialist of this router, got {specialist!r}; it knows {', '.join(self.specialists)}"
            )
        words_FC = self.weights_FC[: len(self.idf_F)]  # a meaning has no words to show
        weights_F = words_FC[:, self.specialists.index(specialist)] - words_FC.mean(axis=1)
        return strongest(text, weights_F, self.idf_F)


def save_router(router: Router, folder: Path) -> None:
    """Write the folder beside and rename it; an older router there is replaced."""
    from safetensors.numpy import save_file

    with atomic_directory(folder) as place:
        arrays = {"weights": router.weights_FC, "bias": router.bias_C, "idf": router.idf_F}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, place / _WEIGHTS)
        settings = {
            "format": FORMAT,
            "specialists": list(router.specialists),
            "temperature": router.temperature,
            "thresholds": asdict(router.thresholds),
            "trained_on": router.trained_on,
            "reads_meaning": router.embed is not None,
        }
        write_json_atomic(place / _SETTINGS, settings)


def load_router(folder: str | os.PathLike[str], open_embedder: Callable[[], Embed] | None = None) -> Router:
    """Read a router's folder. `open_embedder` is called where the router was trained to read meaning.

    Raises ServingError where it is none, its numbers do not fit each other, or it needs an embedder and has none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place = Path(folder)
    try:
        settings = json.loads((place / _SETTINGS).read_text(encoding="utf-8"))
        arrays = load_file(place / _WEIGHTS)
        names = tuple(settings["specialists"])
        found = Router(
            names,
            arrays["weights"],
            arrays["bias"],
            arrays["idf"],
            float(settings["temperature"]),
            Thresholds(**settings["thresholds"]),
            dict(settings["trained_on"]),
        )
        reads_meaning = bool(settings.get("reads_meaning", False))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ServingError(
            f"{place}: expected a router ({_SETTINGS} and {_WEIGHTS}, as luthier router train writes them): {error}"
        ) from error
    rows, columns = found.weights_FC.shape
    as_many = rows > len(found.idf_F) if reads_meaning else rows == len(found.idf_F)
    if not as_many or columns != len(names) + 1 or settings["format"] != FORMAT:
        raise ServingError(
            f"{place}: expected format {FORMAT} with weights for {len(found.idf_F)} features and {len(names) + 1} "
            f"classes; found format {settings['format']} with {rows} by {columns}. Train it again with luthier router "
            "train"
        )
    if not reads_meaning:
        return found
    if open_embedder is None:
        raise ServingError(f"{place}: this router reads meaning; hand load_router an embedder")
    return replace(found, embed=open_embedder())
