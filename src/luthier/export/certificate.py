"""Proof that two forms of a model give the same answers, on the same probes.

Each probe is answered greedily by both forms through the same token path, and the logits of every answered
position are compared with the reference's answer given to both. The tokens must be the same, with one excuse:
where the two best tokens of the reference are as near to each other as rounding moves logits, greedy decoding is
a coin toss, and such a probe is counted as a `tie`. Logits that differ by more than rounding are no excuse.
This file knows nothing of how forms are made.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from luthier.chat.messages import Message
from luthier.errors import NotTheSame
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel

MAX_RELATIVE_DIFFERENCE = 0.05
"""Root mean square of logit differences over the logits' standard deviation: a bound, set with room. A LoRA adapter on
luthier-nano, merged and rounded to bfloat16, was measured at 0.003; the toy in the tests without its adapter at over
0.1."""

_TIE_MOVES = 4.0
"""A tie is a margin of at most this many root-mean-square moves: the difference of two logits that moved by chance
has a standard deviation of 1.4 of them."""

ProbeWord = Literal["same", "tie", "different"]


@dataclass(frozen=True)
class Certificate:
    """Two forms compared. Differences of logits are over all positions of the reference's answers.

    `relative_difference` is their root mean square over the standard deviation of the reference's logits.
    """

    reference: str
    candidate: str
    num_probes: int
    num_same: int
    num_ties: int
    num_tokens: int
    max_logit_difference: float
    relative_difference: float
    template_hash: str
    first_difference: str | None

    @property
    def word(self) -> Literal["same", "same but for ties", "different"]:
        if self.relative_difference > MAX_RELATIVE_DIFFERENCE:
            return "different"
        if self.num_same == self.num_probes:
            return "same"
        return "same but for ties" if self.num_same + self.num_ties == self.num_probes else "different"

    def to_dict(self) -> dict[str, Any]:
        return {"word": self.word, **asdict(self)}

    def describe(self) -> str:
        """One line for a person."""
        ties = f", {self.num_ties} differ at a tie within rounding" if self.num_ties else ""
        return f"{self.num_same} of {self.num_probes} answers the same, token for token{ties}"

    def require_same(self) -> "Certificate":
        """Raises NotTheSame, with the first probe that differs."""
        if self.word == "different":
            raise NotTheSame(
                f"{self.candidate} does not answer like {self.reference}: {self.describe()}; logits differ by "
                f"{self.relative_difference:.3f} of their spread (at most {MAX_RELATIVE_DIFFERENCE} is rounding). "
                f"First: {self.first_difference}"
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
    words: list[ProbeWord] = []
    squares, spreads, worst, num_tokens = 0.0, 0.0, 0.0, 0
    first: str | None = None
    for start in range(0, len(prompts), batch_size):
        some = prompts[start : start + batch_size]
        expected = generate(reference, some, Sampling(max_new_tokens=max_new_tokens))
        got = generate(candidate, some, Sampling(max_new_tokens=max_new_tokens))
        for prompt, want, have, probe in zip(some, expected, got, probes[start:], strict=False):
            want_TV, have_TV = (_answer_logits(model, prompt, want) for model in (reference, candidate))
            difference_TV = (want_TV - have_TV).double()
            squares += float(difference_TV.square().sum())
            spreads += float((want_TV - want_TV.mean(dim=1, keepdim=True)).double().square().sum())
            worst = max(worst, float(difference_TV.abs().max()))
            num_tokens += len(want)
            words.append(_compare(want, have, want_TV, have_TV))
            if words[-1] == "different" and first is None:
                texts = [m.renderer.parse(ids).text for m, ids in ((reference, want), (candidate, have))]
                first = f"{probe[-1].content!r:.80}: {texts[0]!r} against {texts[1]!r}"
    return Certificate(
        reference=reference.name,
        candidate=candidate.name,
        num_probes=len(prompts),
        num_same=words.count("same"),
        num_ties=words.count("tie"),
        num_tokens=num_tokens,
        max_logit_difference=worst,
        relative_difference=(squares / spreads) ** 0.5 if spreads else 0.0,
        template_hash=reference.renderer.template_hash,
        first_difference=first,
    )


def _compare(want: list[int], have: list[int], want_TV: Tensor, have_TV: Tensor) -> ProbeWord:
    """Up to the first token that differs both were given the same text; that position decides."""
    if want == have:
        return "same"
    pairs = enumerate(zip(want, have, strict=False))
    at = next((position for position, (one, other) in pairs if one != other), None)
    if at is None:
        return "different"
    margin = float(want_TV[at, want[at]] - want_TV[at, have[at]])
    # Measured over the whole vocabulary: how far these two logits moved says nothing, they had to cross.
    typical_move = float((want_TV[at] - have_TV[at]).square().mean().sqrt())
    return "tie" if margin <= _TIE_MOVES * typical_move else "different"


@torch.inference_mode()
def _answer_logits(model: LoadedModel, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """float32 logits that predict each token of `answer`, shape (len(answer), vocabulary)."""
    ids_BT = torch.tensor([[*prompt, *answer]], device=model.device)
    logits: Tensor = model.model(input_ids=ids_BT).logits[0, len(prompt) - 1 : -1]
    return logits.float().cpu()
