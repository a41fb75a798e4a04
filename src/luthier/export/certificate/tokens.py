"""The lines of a certificate about tokens: the tokenizer, the rendering, BOS and EOS, and where a form stops.

Knows nothing of weights.
"""

from collections.abc import Sequence
from typing import Any

from luthier.errors import DataError, LuthierError
from luthier.export.certificate.forms import Form, Reply, Trained
from luthier.export.certificate.probes import CONTROL_STRINGS, Probe
from luthier.export.certificate.verdict import Line

UNSHIELDED = (
    "control strings that a user quotes act as control tokens in this form, as in every runtime that renders the "
    "template plainly; Luthier's own token path hides them"
)


def tokenizer_line(trained: Trained, form: Form, probes: Sequence[Probe]) -> Line | None:
    """Plain texts to ids; None where the form does not tell."""
    texts = list(
        dict.fromkeys(m.content for p in probes if p.kind != CONTROL_STRINGS for m in p.messages if m.content)
    )
    differing = []
    for text in texts:
        have = form.encode(text)
        if have is None:
            return None
        if have != trained.loaded.tokenizer.encode(text, add_special_tokens=False):
            differing.append(text)
    if differing:
        detail = f"{len(differing)} of {len(texts)} texts have other ids, the first is {differing[0]!r:.60}"
        return Line("tokenizer", "different", detail, "tokenizer")
    return Line("tokenizer", "identical", f"{len(texts)} texts have the same ids")


def rendering_lines(
    trained: Trained, form: Form, probes: Sequence[Probe], tokenizer: Line | None
) -> tuple[list[Line], list[list[int] | None], bool]:
    """(lines on ids and on BOS and EOS, the form's ids of each probe, whether quoted control strings act there)."""
    if not form.has_template:
        line = Line("rendered tokens", "different", "it has no chat template", "template")
        return [line], [None] * len(probes), False
    rendered: list[list[int] | None] = []
    differing: list[tuple[Probe, str]] = []
    unshielded = False
    for probe in probes:
        want = trained.prompt_ids(probe)
        try:
            have = form.prompt_ids(probe)
        except (LuthierError, DataError, ValueError, TypeError, KeyError) as error:
            rendered.append(None)
            differing.append((probe, f"it cannot be rendered: {error}"))
            continue
        if have is None:
            return [], [None] * len(probes), False
        rendered.append(have)
        if probe.kind == CONTROL_STRINGS and have != want and have == trained.plain_ids(probe):
            unshielded = True
        elif have != want:
            differing.append((probe, _shown(trained, want, have)))
    lines = [_ids_line(trained, probes, rendered, differing, tokenizer)]
    if tokenizer is None or tokenizer.word != "different":  # else its ids mean other things
        lines.append(_ends_line(trained, probes, rendered))
    return lines, rendered, unshielded


def _ids_line(
    trained: Trained,
    probes: Sequence[Probe],
    rendered: Sequence[list[int] | None],
    differing: Sequence[tuple[Probe, str]],
    tokenizer: Line | None,
) -> Line:
    if not differing:
        return Line("rendered tokens", "identical", f"{len(probes)} conversations render to the same ids")
    bos = trained.loaded.tokenizer.bos_token_id
    only_bos = bos is not None and all(
        have is not None and _without(have, bos) == _without(trained.prompt_ids(probe), bos)
        for probe, have in zip(probes, rendered, strict=True)
        if probe.kind != CONTROL_STRINGS
    )
    broken = tokenizer is not None and tokenizer.word == "different"
    cause = "BOS" if only_bos else "tokenizer" if broken else "template"
    probe, shown = differing[0]
    detail = f"{len(differing)} of {len(probes)} conversations render otherwise; {probe.question}: {shown}"
    return Line("rendered tokens", "different", detail, cause)


def _ends_line(trained: Trained, probes: Sequence[Probe], rendered: Sequence[list[int] | None]) -> Line:
    tokenizer = trained.loaded.tokenizer
    wanted, found = [0, 0], [0, 0]
    for probe, have in zip(probes, rendered, strict=True):
        if have is None or probe.kind == CONTROL_STRINGS:
            continue
        for place, token in enumerate((tokenizer.bos_token_id, tokenizer.eos_token_id)):
            if token is not None:
                wanted[place] += trained.prompt_ids(probe).count(token)
                found[place] += have.count(token)
    detail = f"{found[0]} BOS and {found[1]} EOS in all prompts; trained with {wanted[0]} and {wanted[1]}"
    if wanted[0] != found[0]:
        return Line("BOS and EOS", "different", detail, "BOS")
    return Line(
        "BOS and EOS",
        "identical" if wanted == found else "different",
        detail,
        None if wanted == found else "template",
    )


def prompt_lengths_line(trained: Trained, probes: Sequence[Probe], replies: Sequence[Reply]) -> Line | None:
    """For a form that tells how many tokens a prompt had, and not which."""
    off, told = [], 0
    for probe, reply in zip(probes, replies, strict=True):
        if reply.num_prompt_tokens is None or probe.kind == CONTROL_STRINGS:
            continue
        told += 1
        off.append(reply.num_prompt_tokens - len(trained.prompt_ids(probe)))
    if not told:
        return None
    if not any(off):
        detail = f"{told} conversations have as many tokens as in training; which ones, a server does not say"
        return Line("prompt lengths", "equal within tolerance", detail)
    constant = len(set(off)) == 1 and abs(off[0]) == 1 and trained.loaded.tokenizer.bos_token_id is not None
    detail = f"{sum(map(bool, off))} of {told} conversations have another number of tokens, by {off[0]:+d} at first"
    return Line("prompt lengths", "different", detail, "BOS" if constant else "template")


def stop_line(trained: Trained, form: Form, wanted: Sequence[Reply], replies: Sequence[Reply]) -> Line:
    """Does it stop where the trained model stops?"""
    end = trained.renderer.end_of_turn_id
    if form.stop_ids is not None and end not in form.stop_ids:
        shown = [trained.loaded.tokenizer.decode([one]) for one in (end, *form.stop_ids) if one >= 0]
        detail = f"a turn ends with {shown[0]!r}, and it stops at {shown[1:] or 'nothing'}"
        return Line("stopping", "different", detail, "stop ids")
    ended = [(want, have) for want, have in zip(wanted, replies, strict=True) if want.stopped]
    both = sum(have.stopped for _, have in ended)
    detail = f"the trained model ends {len(ended)} of {len(wanted)} answers within the limit, the form {both} of those"
    running = sum(_runs_on(want, have) for want, have in ended)
    if form.stop_ids is None and 2 * running > len(
        ended
    ):  # a single one may be another answer that begins alike
        return Line("stopping", "different", f"{detail}; it says the same and goes on", "stop ids")
    return Line("stopping", "identical", detail)


def _runs_on(want: Reply, have: Reply) -> bool:
    """The same words, and then more."""
    text = want.text.strip()
    return bool(text) and have.text.strip().startswith(text) and len(have.text.strip()) > len(text)


def _without(ids: Sequence[int], token: int) -> list[int]:
    return [one for one in ids if one != token]


def _shown(trained: Trained, want: list[int], have: list[int]) -> str:
    """The two renderings from a little before they part."""
    pairs: Any = zip(want, have, strict=False)
    at = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(want), len(have)))
    start = max(0, at - 4)
    one, other = (trained.renderer.decode(ids[start : at + 8]) for ids in (want, have))
    return f"at token {at}: {one!r} in training, {other!r} here"
