"""Smaller forms of one model, each asked the same items: how small, how fast, how far from the whole, and not worse?

The whole form (the stored type, as GGUF) is the reference. KL is taken over the texts of prompts with the
reference's own answers. Not worse is shown by Tango's test within a margin; an unproved form is not chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ConfigError
from luthier.evaluation.answerers.gguf import GgufAnswerer
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import EvalResult, evaluate
from luthier.evaluation.speed import speed_of
from luthier.evaluation.stats import Interval, wilson_interval
from luthier.evaluation.stats.equivalence import equivalence_of_pairs
from luthier.export.gguf.quantize import K_QUANTS
from luthier.export.gguf.weights import Weights
from luthier.export.gguf.write import write_gguf
from luthier.models.gguf import GgufModel

ALPHA = 0.05
_KL_ITEMS = 32


@dataclass(frozen=True)
class SmallerForm:
    """`path`: in the folder of all forms.

    `kl_nats`: mean Kullback-Leibler divergence from the reference per token; `top1`: share of the same best token.

    `p_not_worse`: against "worse than the reference by the margin or more"; None for the reference itself.
    """

    type: str
    path: str
    num_bytes: int
    tokens_per_second: float | None
    kl_nats: float
    top1: float
    accuracy: float
    interval: Interval
    num_items: int
    wins: int
    losses: int
    p_not_worse: float | None

    @property
    def not_worse(self) -> bool:
        return self.p_not_worse is not None and self.p_not_worse < ALPHA


@dataclass(frozen=True)
class Comparison:
    """`forms`: the reference first. `smallest`: the smallest form that is shown to be not worse, or None."""

    forms: tuple[SmallerForm, ...]
    margin: float

    @property
    def smallest(self) -> SmallerForm | None:
        shown = [form for form in self.forms[1:] if form.not_worse]
        return min(shown, key=lambda form: form.num_bytes) if shown else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, under keys that stay."""
        chosen = self.smallest
        return {
            "margin": self.margin,
            "alpha": ALPHA,
            "forms": [{**asdict(form), "not_worse": form.not_worse} for form in self.forms],
            "smallest_not_worse": chosen.type if chosen else None,
        }


def compare_quantizations(
    folder: Path,
    types: Sequence[str],
    items: Sequence[EvalItem],
    out: Path,
    *,
    system_prompt: str | None = None,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
    max_new_tokens: int = 64,
    margin: float = 0.05,
    name: str | None = None,
    on_form: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Write the model folder in every type into `out`, ask each form all items, and compare with the stored type.

    name: what the files are called, before their type; default: the folder's name.

    Raises ConfigError where a type is named twice or is the stored one, and what writing and asking raise.
    """
    whole = Weights(folder).stored_type
    if len(set(types)) != len(types) or whole in types or not types:
        raise ConfigError(
            f"--compare: expected types other than the stored {whole}, each once; got {', '.join(types)}"
        )
    asked: dict[str, tuple[Path, EvalResult]] = {}
    for kind in (whole, *types):
        on_form(kind)
        path = out / f"{name or folder.name}-{kind}.gguf"
        write_gguf(folder, path, kind, importance=importance if kind in K_QUANTS else None)
        with closing(GgufAnswerer(path, kind)) as answerer:
            asked[kind] = (
                path,
                evaluate(
                    answerer,
                    items,
                    system_prompt=system_prompt,
                    max_new_tokens=max_new_tokens,
                    batch_size=1,
                ),
            )
    reference_path, reference = asked[whole]
    forms = []
    for kind, (path, result) in asked.items():
        kl, top1 = (0.0, 1.0) if kind == whole else _distance(reference_path, path, reference)
        forms.append(_form(kind, path, result, reference, kl, top1, None if kind == whole else margin))
    return Comparison(tuple(forms), margin)


def _form(
    kind: str,
    path: Path,
    result: EvalResult,
    reference: EvalResult,
    kl_nats: float,
    top1: float,
    margin: float | None,
) -> SmallerForm:
    rights = [
        (one.verdict is VerdictWord.PASSED, other.verdict is VerdictWord.PASSED)
        for one, other in zip(reference.items, result.items, strict=True)
        if VerdictWord.UNGRADABLE not in (one.verdict, other.verdict)
    ]
    wins, losses = sum(b and not a for a, b in rights), sum(a and not b for a, b in rights)
    tally = result.tally
    return SmallerForm(
        type=kind,
        path=path.name,
        num_bytes=path.stat().st_size,
        tokens_per_second=speed_of(result.items).tokens_per_second,
        kl_nats=kl_nats,
        top1=top1,
        accuracy=tally.accuracy,
        interval=wilson_interval(tally.num_passed, tally.num_graded),
        num_items=len(rights),
        wins=wins,
        losses=losses,
        p_not_worse=equivalence_of_pairs(wins, losses, len(rights), margin).p_not_worse
        if margin is not None and rights
        else None,
    )


def _distance(reference: Path, candidate: Path, result: EvalResult) -> tuple[float, float]:
    """Mean KL in nats, and the share of positions with the same best token, over the first items' texts."""
    divergences, same = [], []
    with GgufModel(reference) as one, GgufModel(candidate) as other:
        for item in result.items[:_KL_ITEMS]:
            ids = one.tokenize(item.prompt + item.answer, control_tokens=True)[: one.context_length]
            p_TV, q_TV = (_log_probabilities(model.logits(ids)) for model in (one, other))
            divergences.append((np.exp(p_TV) * (p_TV - q_TV)).sum(axis=1))
            same.append(p_TV.argmax(axis=1) == q_TV.argmax(axis=1))
    return float(np.concatenate(divergences).mean()), float(np.concatenate(same).mean())


def _log_probabilities(logits_TV: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits_TV.astype(np.float64) - logits_TV.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
