"""Forms on their way out: written beside, certified, held before the specialist's gate once more, then named.

What is not proven does not take its name. Knows nothing of screens.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from luthier.chat.render import Renderer
from luthier.errors import EvaluationError, ExportError, LuthierError, NotTheSame
from luthier.evaluation.gate.screen import render_page
from luthier.export.certificate.check import Opened
from luthier.export.certificate.verdict import Certificate
from luthier.export.shipment import FormName
from luthier.export.write import ExportPlan, apply_export
from luthier.files import atomic_directory, write_json_atomic, write_text_atomic
from luthier.pipeline.certifying import (
    Open,
    ask_trained,
    certify_forms,
    opener,
    read_items,
    write_certificate,
)
from luthier.pipeline.form_gate import FORM_VERDICT, GatedForm, ShippedForm, Tell, gate_forms
from luthier.pipeline.gate_sets import VERDICT
from luthier.pipeline.shipping import Found
from luthier.pipeline.specialist_report import refresh_report

GATE = "gate"
Say = Callable[[str], None]


@dataclass(frozen=True)
class ExportJob:
    """items: of the probes and of the domain's score; default: those of the run's recipe.

    accept: why forms may go that answer differently or that the gate holds back. no_gate: why it is not asked.
    """

    plan: ExportPlan
    out: Path
    items: Path | None = None
    max_probes: int = 100
    accept: str | None = None
    no_gate: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was proven of the forms."""

    certificate: Certificate
    gated: tuple[GatedForm, ...]


def export_forms(
    found: Found,
    job: ExportJob,
    say: Say = lambda line: None,
    on_progress: Tell = lambda what, done, total: None,
) -> Exported:
    """Write, certify, gate; a specialist's records are kept.

    Raises NotTheSame where a form answers differently, ExportError where the gate holds one back, EvaluationError where
    the gate cannot be asked again; nothing bears the name `job.out` then.
    """
    with (
        atomic_directory(job.out) as beside,
        tempfile.TemporaryDirectory(dir=job.out.parent, prefix=".base-") as scratch,
    ):
        apply_export(job.plan, beside, job.out, say)
        asked, notes = ask_trained(
            found.model, found.shipment, read_items(job.items or found.items), max_probes=job.max_probes
        )
        forms, unrun = _to_ask(found, job.plan, beside, Path(scratch))
        openers = [partial(_open_aloud, one, say) for one in forms]
        certificate = certify_forms(asked, openers, found.shipment, [*notes, *unrun], job.accept)
        _require(certificate, job.out)
        renderer = asked.trained.renderer
        del asked  # the trained model in float32: champion and base need the room
        gated, gate_notes = _gate(found, job, forms, renderer, on_progress)
        certificate = replace(certificate, notes=(*certificate.notes, *gate_notes))
        _let_pass(gated, job)
        write_certificate(certificate, beside)
        for one in gated:
            _write_verdict(one, beside / GATE / one.form.folder)
    _record(found, job, certificate, gated)
    return Exported(certificate, tuple(gated))


def _to_ask(
    found: Found, plan: ExportPlan, folder: Path, scratch: Path
) -> tuple[list[ShippedForm], list[str]]:
    """The forms that can be asked here, and notes on the others."""
    forms, notes = [], []
    for one in plan.forms:
        place = folder / one.form.folder
        open_form: Open | None = opener(one.form, place, found.shipment, scratch)
        reason = not_run(one.form)
        if reason is not None:
            notes.append(f"{one.form}: not run, because {reason}")
        elif open_form is not None:
            forms.append(ShippedForm(one.form, place, open_form))
    return forms, notes


def _open_aloud(one: ShippedForm, say: Say, stack: ExitStack) -> Opened:
    say(f"{one.form}: asked what the trained model was asked")
    return one.open(stack)


def not_run(form: FormName) -> str | None:
    """Why a form cannot be asked on this machine."""
    needs_llama = form.kind in ("gguf", "gguf-lora") or (form.kind == "ollama" and form.variant != "hf")
    if needs_llama and importlib.util.find_spec("llama_cpp") is None:
        return "llama-cpp-python is not installed: pip install 'luthier[llamacpp]'"
    return "it is a command line; the folder that it serves is certified" if form.kind == "vllm" else None


def _require(certificate: Certificate, out: Path) -> None:
    try:
        certificate.require()
    except NotTheSame as error:
        write_certificate(certificate, out.parent, f"{out.name}-refused")
        raise NotTheSame(f"{error} (see {out.parent / (out.name + '-refused.html')})") from error


def _gate(
    found: Found, job: ExportJob, forms: Sequence[ShippedForm], renderer: Renderer, on_progress: Tell
) -> tuple[list[GatedForm], list[str]]:
    """The gate's word on each form, and notes for the certificate; none where there is no gate to ask."""
    if found.store is None or found.specialist is None:
        return [], []
    verdicts = found.store.records(found.specialist, VERDICT)
    if not verdicts:
        return [], [f"gate: {found.specialist.ref} has no verdict, so the forms have none"]
    if job.no_gate is not None:
        return [], [f"gate: not asked again, because {job.no_gate}"]
    try:
        gated = gate_forms(found.store, found.specialist, verdicts[-1]["body"], forms, renderer, on_progress)
    except LuthierError as error:
        raise EvaluationError(
            f"the gate of {found.specialist.ref} cannot be asked again: {error}. Put that back, run luthier gate "
            f'{found.specialist.ref} again, or export without it: --no-gate "why", which is recorded'
        ) from error
    return gated, [f"gate: {one.describe()}" for one in gated]


def _let_pass(gated: Sequence[GatedForm], job: ExportJob) -> None:
    worse = [one for one in gated if one.is_worse]
    if not worse or job.accept is not None:
        return
    kept = job.out.parent / f"{job.out.name}-refused"
    for one in worse:
        _write_verdict(one, kept / one.form.folder)
    raise ExportError(
        "; ".join(f"{one.describe()}, where the specialist's own word is {one.own.value}" for one in worse)
        + f'. See {kept}; let it go with --accept "why", which is recorded'
    )


def _write_verdict(one: GatedForm, folder: Path) -> None:
    write_json_atomic(folder / "verdict.json", one.to_record())
    write_text_atomic(folder / "gate.html", render_page(one.verdict))


def _record(found: Found, job: ExportJob, certificate: Certificate, gated: Sequence[GatedForm]) -> None:
    place = {"out": str(job.out.absolute())}
    found.record("certificate", {**certificate.to_dict(), **place})
    for one in gated:
        found.record(FORM_VERDICT, {**one.to_record(), **place})
    names = [str(one.form) for one in job.plan.forms]
    reasons = {"accepted": job.accept, "no_gate": job.no_gate}
    found.record(
        "export",
        {"name": ", ".join(names), "forms": names, "word": certificate.word, **reasons, **place},
    )
    if found.store is not None and found.specialist is not None:
        refresh_report(found.store, found.specialist)
