"""Certify: ask every form the same probes and compare with the trained model.

Knows nothing of how forms are made, of graders or of stores.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from luthier.errors import ModelError
from luthier.export.certificate import causes
from luthier.export.certificate.forms import Form, Reply, Trained
from luthier.export.certificate.measure import (
    AnswerWord,
    Distance,
    coin_toss,
    distance,
    first_difference,
    positions,
)
from luthier.export.certificate.probes import Probe
from luthier.export.certificate.tokens import (
    UNSHIELDED,
    prompt_lengths_line,
    rendering_lines,
    stop_line,
    tokenizer_line,
)
from luthier.export.certificate.verdict import TOLERANCES, Certificate, FormVerdict, Line, Tolerance, Word

_POSITIONS = 16
_SEQUENCES_FOR_CAUSES = 3
_ROUNDING = 0.05
"""No form that is not quantised rounds by more than this, relative to the spread of the logits."""


@dataclass(frozen=True)
class Domain:
    """What the specialist is for: conversations, a grade in [0, 1] of an answer to each, an interval of such grades."""

    probes: Sequence[Probe]
    grade: Callable[[int, str], float]
    interval: Callable[[Sequence[float]], tuple[float, float]]


@dataclass(frozen=True)
class Asked:
    """What every form is held against: the probes with the trained model's answers."""

    trained: Trained
    probes: Sequence[Probe]
    replies: Sequence[Reply]
    max_new_tokens: int
    domain: Domain | None = None
    grades: Sequence[float] = ()


Opened = tuple[Form, Mapping[str, str]]
"""A form that is ready, and the hashes of its files."""


def ask(
    trained: Trained, probes: Sequence[Probe], *, max_new_tokens: int = 64, domain: Domain | None = None
) -> Asked:
    """Answer everything with the trained model, once."""
    replies = trained.answers(probes, max_new_tokens)
    grades: list[float] = []
    if domain is not None:
        found = trained.answers(domain.probes, max_new_tokens)
        grades = [domain.grade(number, said(trained, reply)) for number, reply in enumerate(found)]
    return Asked(trained, probes, replies, max_new_tokens, domain, grades)


def certify(
    asked: Asked,
    forms: Sequence[Callable[[ExitStack], Opened]],
    *,
    notes: Sequence[str] = (),
    identity: Mapping[str, Any] | None = None,
    accepted: str | None = None,
) -> Certificate:
    """Check each form; they are opened one after another, and let go. Raises what opening one raises."""
    verdicts, said_notes = [], list(notes)
    for open_form in forms:
        with ExitStack() as stack:
            form, files = open_form(stack)
            verdict, unshielded = check_form(asked, form, files)
        verdicts.append(verdict)
        if unshielded:
            said_notes.append(f"{verdict.form}: {UNSHIELDED}")
    return Certificate(
        asked.trained.name,
        len(asked.probes),
        tuple(verdicts),
        tuple(said_notes),
        dict(identity or {}),
        accepted,
    )


def check_form(asked: Asked, form: Form, files: Mapping[str, str] | None = None) -> tuple[FormVerdict, bool]:
    """(the form's lines, whether control strings that a user quotes act there)."""
    trained, tolerance = asked.trained, TOLERANCES[form.precision]
    if not form.takes_tools:
        asked = _without_tools(asked)
    tokenizer = tokenizer_line(trained, form, asked.probes)
    rendering, rendered, unshielded = rendering_lines(trained, form, asked.probes, tokenizer)
    logits = _logits_line(asked, form, tolerance)
    lines = [*([tokenizer] if tokenizer else []), *rendering]
    if not rendering or (form.has_template and all(ids is not None for ids in rendered)):
        lines += _answer_lines(asked, form, logits, rendered, unshielded, next(_causes(lines), None))
    else:
        lines += [
            *([logits] if logits else []),
            Line("answers", "not run", "it cannot render the conversations"),
        ]
    return FormVerdict(form.name, form.precision, tuple(lines), dict(files or {})), unshielded


def _without_tools(asked: Asked) -> Asked:
    kept = [place for place, probe in enumerate(asked.probes) if not probe.tools]
    return replace(asked, probes=[asked.probes[i] for i in kept], replies=[asked.replies[i] for i in kept])


def _causes(lines: Iterable[Line]) -> Iterator[str]:
    return (line.cause for line in lines if line.cause)


def _answer_lines(
    asked: Asked,
    form: Form,
    logits: Line | None,
    rendered: Sequence[list[int] | None],
    unshielded: bool,
    earlier: str | None,
) -> list[Line]:
    """Everything that needs the form's own answers: stopping, logits (told between them), answers, domain score."""
    shown = [logits] if logits else []
    try:
        replies = form.answers(asked.probes, asked.max_new_tokens)
    except ModelError as error:
        return [*shown, Line("answers", "different", str(error), earlier or next(_causes(shown), "weights"))]
    lengths = prompt_lengths_line(asked.trained, asked.probes, replies) if not any(rendered) else None
    lines = [*([lengths] if lengths else []), stop_line(asked.trained, form, asked.replies, replies), *shown]
    earlier = earlier or next(_causes(lines), None)
    lines.append(_answers_line(asked, form, replies, earlier, rendered, unshielded))
    return [*lines, *_domain_lines(asked, form, next(_causes(lines), earlier))]


def said(trained: Trained, reply: Reply) -> str:
    """The words of an answer, without markup of the template."""
    return reply.text if reply.token_ids is None else trained.renderer.parse(reply.token_ids).text


def _logits_line(asked: Asked, form: Form, tolerance: Tolerance) -> Line | None:
    """Both are given the trained model's ids, so template and stops do not matter here. None: it shows no logits."""
    trained = asked.trained
    whole: list[Any] = []
    if form.logits(trained.prompt_ids(asked.probes[0])) is None:
        return None
    by_length = sorted(range(len(asked.probes)), key=lambda place: len(asked.replies[place].token_ids or ()))

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for place in by_length:
            prompt, answer = trained.prompt_ids(asked.probes[place]), asked.replies[place].token_ids or ()
            ids = [*prompt, *answer]
            have = form.logits(ids)
            assert have is not None
            have = have[-len(ids) :]
            if len(whole) < _SEQUENCES_FOR_CAUSES:
                whole.append((ids, have))
            at = [len(prompt) - 1 + place for place in positions(max(1, len(answer)), _POSITIONS)]
            yield _alike(trained.logits_at(ids, at), have[at])

    return _logits_verdict(asked, form, tolerance, distance(pairs()), whole)


def _alike(want: Tensor, have: Tensor) -> tuple[Tensor, Tensor]:
    """Without columns that pad a vocabulary."""
    width = min(want.shape[1], have.shape[1])
    return want[:, :width], have[:, :width]


def _logits_verdict(
    asked: Asked, form: Form, tolerance: Tolerance, found: Distance, whole: causes.Sequences
) -> Line:
    detail = (
        f"relative error {found.relative:.2g} (at most {found.max_relative:.2g}), KL {found.kl:.2g}, "
        f"top-1 {found.top1:.1%}, top-5 {found.top5:.1%} of {found.num_positions} positions"
    )
    numbers = found.numbers()
    if found.max_relative == 0:
        return Line("logits", "identical", detail, None, numbers)
    if found.relative <= tolerance.relative and found.top1_or_tie >= tolerance.top1:
        return Line("logits", "equal within tolerance", detail, None, numbers)
    why = causes.reproduce(asked.trained, whole, tolerance.relative)
    if why is not None:
        return Line("logits", "different", f"{detail}; {why.detail}", why.cause, numbers)
    # No known mistake reproduces it: what is left is rounding that was too coarse, or other weights.
    quantised = form.precision.endswith("bit")
    rounding = found.relative <= (4 * tolerance.relative if quantised else _ROUNDING)
    cause = "weights" if not rounding else "quantisation" if quantised else "dtype"
    bound = f"at most {tolerance.relative:g} and {tolerance.top1:.0%} for {form.precision}"
    return Line("logits", "different", f"{detail} ({bound})", cause, numbers)


def _answers_line(
    asked: Asked,
    form: Form,
    replies: Sequence[Reply],
    earlier: str | None,
    rendered: Sequence[list[int] | None],
    unshielded: bool,
) -> Line:
    words: list[AnswerWord] = []
    first, why, allowed = "", "decoding", 1 - TOLERANCES[form.precision].top1
    for place, (probe, want, have) in enumerate(zip(asked.probes, asked.replies, replies, strict=True)):
        if unshielded and rendered[place] != asked.trained.prompt_ids(probe):
            continue  # another question there, as the note says
        words.append(_answer_word(asked, form, probe, want, have))
        if words[-1] == "different" and not first:
            first = f"; {probe.question}: {want.text!r:.120} in training, {have.text!r:.120} here"
            why = _cause_of_parting(asked, form, probe, want, have)
    share = words.count("same") / max(1, len(words))
    ties = f", {words.count('tie')} part at a tie within rounding" if "tie" in words else ""
    detail = f"{words.count('same')} of {len(words)} answers the same, token for token{ties}{first}"
    numbers = {"identical": share, "ties": words.count("tie") / max(1, len(words))}
    if "different" not in words:
        word: Word = "identical" if share == 1 else "equal within tolerance"
        return Line("answers", word, detail, None, numbers)
    if earlier is None and words.count("different") <= allowed * len(words):
        return Line("answers", "equal within tolerance", detail, None, numbers)
    cause = earlier or (_cause_by_answers(asked, replies) if replies[0].token_ids is None else why)
    return Line("answers", "different", detail, cause, numbers)


def _answer_word(asked: Asked, form: Form, probe: Probe, want: Reply, have: Reply) -> AnswerWord:
    trained, wanted = asked.trained, want.token_ids or ()
    if have.token_ids is None:
        if want.text.strip() == have.text.strip():
            return "same"
        ids = tuple(
            trained.loaded.tokenizer.encode(have.text, add_special_tokens=False)
        )  # ours, as a server tells none
    else:
        ids = have.token_ids
    at = first_difference(wanted, ids)
    if ids == wanted or at is None:
        return "same" if ids == wanted else "different"
    context = [*trained.prompt_ids(probe), *wanted[:at]]
    want_V, have_TV = trained.logits(context)[-1], form.logits(context)
    moved = TOLERANCES[form.precision].relative * float(
        want_V.std()
    )  # what rounding may do: more excuses nothing
    if have_TV is not None:
        have_V = have_TV[-1][: len(want_V)]
        moved = min(moved, float((want_V[: len(have_V)] - have_V).square().mean().sqrt()))
    return coin_toss(want_V, wanted[at], ids[at], moved)


def _cause_of_parting(asked: Asked, form: Form, probe: Probe, want: Reply, have: Reply) -> str:
    """Rounding, where the form says what its own logits say; else it decodes in another way."""
    wanted, ids = want.token_ids or (), have.token_ids or ()
    at = first_difference(wanted, ids)
    logits_TV = None
    if at is not None:
        logits_TV = form.logits([*asked.trained.prompt_ids(probe), *wanted[:at]])
    if at is None or logits_TV is None or int(logits_TV[-1].argmax()) != ids[at]:
        return "decoding"
    return "quantisation" if form.precision.endswith("bit") else "dtype"


def _cause_by_answers(asked: Asked, replies: Sequence[Reply]) -> str:
    """A server shows no logits: does the base, without its adapter, say what the server says?"""
    if not causes.has_adapter(asked.trained):
        return "weights"
    with causes.adapter_off(asked.trained.loaded.model):
        base = asked.trained.answers(asked.probes, asked.max_new_tokens)
    alike = sum(one.text.strip() == other.text.strip() for one, other in zip(base, replies, strict=True))
    ours = sum(
        one.text.strip() == other.text.strip() for one, other in zip(asked.replies, replies, strict=True)
    )
    return "adapter not applied" if alike > max(ours, len(replies) / 2) else "weights"


def _domain_lines(asked: Asked, form: Form, earlier: str | None) -> list[Line]:
    domain = asked.domain
    if domain is None or not domain.probes:
        return []
    replies = form.answers(domain.probes, asked.max_new_tokens)
    grades = [domain.grade(number, said(asked.trained, reply)) for number, reply in enumerate(replies)]
    before, after = (sum(some) / len(some) for some in (asked.grades, grades))
    low, high = domain.interval(grades)
    detail = f"{after:.1%} of {len(grades)} test items (95% interval {low:.1%} to {high:.1%}); trained: {before:.1%}"
    numbers = {"score": after, "low": low, "high": high, "trained": before}
    if list(grades) == list(asked.grades):
        return [Line("domain score", "identical", detail, None, numbers)]
    if after >= before or low <= before <= high:
        return [Line("domain score", "equal within tolerance", detail, None, numbers)]
    cause = earlier or ("quantisation" if form.precision.endswith("bit") else "weights")
    return [Line("domain score", "different", detail, cause, numbers)]
