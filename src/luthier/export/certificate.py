"""Proof that two forms of a model give the same answers, on the same probes.

Each probe is answered greedily by both forms through the same token path; the tokens must be the same, and
the logits of every answered position are compared. Rounding to bfloat16 may move a logit by a little: what is
certified is the tokens, and the greatest difference is stated. This file knows nothing of how forms are made.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from luthier.chat.messages import Message
from luthier.errors import NotTheSame
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel


@dataclass(frozen=True)
class Certificate:
    """Two forms compared. `max_logit_difference` is over all positions of the reference's answers."""

    reference: str
    candidate: str
    num_probes: int
    num_same: int
    num_tokens: int
    max_logit_difference: float
    template_hash: str
    first_difference: str | None

    @property
    def word(self) -> str:
        return "same" if self.num_same == self.num_probes else "different"

    def to_dict(self) -> dict[str, Any]:
        return {"word": self.word, **asdict(self)}

    def require_same(self) -> "Certificate":
        """Raises NotTheSame with the first probe that differs."""
        if self.word != "same":
            raise NotTheSame(
                f"{self.candidate} answers {self.num_probes - self.num_same} of {self.num_probes} probes unlike "
                f"{self.reference}; first: {self.first_difference}"
            )
        return self


def certify(
    reference: LoadedModel,
    candidate: LoadedModel,
    probes: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 16,
) -> Certificate:
    """Answer every probe with both models and compare tokens and logits.

    Raises NotTheSame at once where the two render a probe to different token ids.
    """
    prompts = [reference.renderer.prompt(probe) for probe in probes]
    for prompt, probe in zip(prompts, probes, strict=True):
        if candidate.renderer.prompt(probe) != prompt:
            raise NotTheSame(
                f"{candidate.name} and {reference.name} render the same messages to different tokens: "
                f"{probe[-1].content!r:.80}"
            )
    sampling = Sampling(max_new_tokens=max_new_tokens)
    num_same = num_tokens = 0
    worst = 0.0
    first: str | None = None
    for start in range(0, len(prompts), batch_size):
        some = prompts[start : start + batch_size]
        expected = generate(reference, some, sampling)
        got = generate(candidate, some, sampling)
        for prompt, want, have, probe in zip(some, expected, got, probes[start:], strict=False):
            worst = max(worst, _logit_difference(reference, candidate, [*prompt, *want], len(prompt)))
            num_tokens += len(want)
            if want == have:
                num_same += 1
            elif first is None:
                words = [
                    model.renderer.parse(ids).text for model, ids in ((reference, want), (candidate, have))
                ]
                first = f"{probe[-1].content!r:.80}: {words[0]!r} against {words[1]!r}"
    return Certificate(
        reference.name,
        candidate.name,
        len(prompts),
        num_same,
        num_tokens,
        worst,
        reference.renderer.template_hash,
        first,
    )


@torch.inference_mode()
def _logit_difference(
    reference: LoadedModel, candidate: LoadedModel, ids: list[int], answer_start: int
) -> float:
    logits = [
        model.model(input_ids=torch.tensor([ids], device=model.device)).logits[0, answer_start - 1 : -1]
        for model in (reference, candidate)
    ]
    return float((logits[0].float().cpu() - logits[1].float().cpu()).abs().max())
