"""`luthier export`: a run or a specialist becomes forms that other programs load, each proven to answer the same."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, quiet_libraries, warn

if TYPE_CHECKING:
    from luthier.export.certificate.verdict import Certificate
    from luthier.export.shipment import FormName
    from luthier.export.write import ExportPlan
    from luthier.pipeline.shipping import Found


Model = Annotated[
    str, typer.Argument(help="A run, a specialist (NAME@VERSION), an adapter or a model folder.")
]
Items = Annotated[
    Path | None,
    typer.Option(
        help="Evaluation items (JSONL): probes and domain score. Default: those of the run's recipe."
    ),
]
MaxProbes = Annotated[int, typer.Option(min=1, help="How many probes at most.")]
To = Annotated[
    list[str] | None,
    typer.Option(
        help="A form, once or more: hf (default), peft, gguf:TYPE, gguf-lora, ollama[:TYPE|:hf], vllm."
    ),
]
Dtype = Annotated[
    str, typer.Option(help="Of merged weights: auto (as the base is stored), float32, bfloat16, float16.")
]
Accept = Annotated[
    str | None, typer.Option(help="Let forms go that answer differently; the reason is recorded.")
]


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist, or be empty.")],
    to: To = None,
    dtype: Dtype = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the whole plan; write nothing.")] = False,
    items: Items = None,
    max_probes: MaxProbes = 100,
    accept: Accept = None,
) -> None:
    """Plan, write, then certify: what does not answer like the trained model does not leave."""
    from luthier.errors import ConfigError, ExportError
    from luthier.export.shipment import parse_form
    from luthier.export.write import plan_export
    from luthier.pipeline.shipping import find_shipment

    quiet_libraries()
    if accept is not None and not accept.strip():
        raise ConfigError("--accept needs a reason, which is recorded")
    forms = [parse_form(part) for text in to or ["hf"] for part in text.split(",")]
    if not dry_run and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: exists and is not empty; choose another folder")
    found = find_shipment(model, warn)
    plan = plan_export(found.shipment, forms, dtype)
    _show(plan, every_tensor=dry_run)
    if dry_run:
        return
    certificate = _write_and_certify(found, plan, out, items, max_probes, accept)
    place = {"out": str(out.absolute())}
    found.record("certificate", {**certificate.to_dict(), **place})
    written = [str(one.form) for one in plan.forms]
    found.record("export", {"forms": written, "word": certificate.word, **place})
    show_forms(certificate)
    console().print(
        f"written to {out}; the certificate: {out / 'certificate.html'}", markup=False, soft_wrap=True
    )


def show_forms(certificate: "Certificate") -> None:
    """Every form with its word, and every line under it."""
    for form in certificate.forms:
        console().print(f"{form.form}: {form.said}", markup=False, soft_wrap=True)
        for line in form.lines:
            console().print(f"  {line.what}: {line.said}; {line.detail}", markup=False, soft_wrap=True)


def _show(plan: "ExportPlan", *, every_tensor: bool) -> None:
    for line in plan.describe():
        console().print(line, markup=False, soft_wrap=True)
    for tensor in plan.merge.tensors if every_tensor and plan.merge is not None else ():
        console().print(f"  {tensor.describe()}  {tensor.num_bytes:,} bytes", markup=False, soft_wrap=True)


def _write_and_certify(
    found: "Found", plan: "ExportPlan", out: Path, items: Path | None, max_probes: int, accept: str | None
) -> "Certificate":
    from luthier.errors import NotTheSame
    from luthier.export.write import apply_export
    from luthier.files import atomic_directory
    from luthier.pipeline.certifying import ask_trained, certify_forms, opener, read_items, write_certificate

    screen = console(stderr=True)
    with atomic_directory(out) as beside:  # what is not proven does not take its name
        apply_export(plan, beside, out, lambda line: screen.print(line, markup=False))
        asked, notes = ask_trained(
            found.model, found.shipment, read_items(items or found.items), max_probes=max_probes
        )
        openers, unrun = [], []
        for one in plan.forms:
            open_form = opener(one.form, beside / one.form.folder, found.shipment)
            reason = _not_run(one.form)
            if reason is not None:
                unrun.append(f"{one.form}: not run, because {reason}")
            elif open_form is not None:
                openers.append(open_form)
        certificate = certify_forms(asked, openers, found.shipment, [*notes, *unrun], accept)
        try:
            certificate.require()
        except NotTheSame as error:
            write_certificate(certificate, out.parent, f"{out.name}-refused")
            raise NotTheSame(f"{error} (see {out.parent / (out.name + '-refused.html')})") from error
        write_certificate(certificate, beside)
    return certificate


def _not_run(form: "FormName") -> str | None:
    """Why a form cannot be asked on this machine."""
    import importlib.util

    needs_llama = form.kind in ("gguf", "gguf-lora") or (form.kind == "ollama" and form.variant != "hf")
    if needs_llama and importlib.util.find_spec("llama_cpp") is None:
        return "llama-cpp-python is not installed: pip install 'luthier[llamacpp]'"
    return "it is a command line; the folder that it serves is certified" if form.kind == "vllm" else None
