"""`luthier export`: a run or a specialist becomes forms that other programs load, each proven to answer the same."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, progress_bars, quiet_libraries, warn

if TYPE_CHECKING:
    from luthier.export.certificate.verdict import Certificate
    from luthier.export.write import ExportPlan


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
        help="A form, once or more: hf (default), peft, gguf:TYPE, gguf-lora, ollama[:TYPE|:hf], mlx[:4|:8], vllm."
    ),
]
Dtype = Annotated[
    str, typer.Option(help="Of merged weights: auto (as the base is stored), float32, bfloat16, float16.")
]
Accept = Annotated[
    str | None,
    typer.Option(
        help="Let forms go that answer differently, or that the gate holds back; the reason is recorded."
    ),
]
NoGate = Annotated[
    str | None, typer.Option(help="Do not ask the specialist's gate again; the reason is recorded.")
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
    no_gate: NoGate = None,
) -> None:
    """Plan, write, certify, then ask the specialist's gate again: what is not proven does not leave."""
    from luthier.errors import ConfigError, ExportError
    from luthier.export.shipment import parse_form
    from luthier.export.write import plan_export
    from luthier.pipeline.exporting import ExportJob, export_forms
    from luthier.pipeline.shipping import find_shipment

    quiet_libraries()
    for option, reason in (("--accept", accept), ("--no-gate", no_gate)):
        if reason is not None and not reason.strip():
            raise ConfigError(f"{option} needs a reason, which is recorded")
    forms = [parse_form(part) for text in to or ["hf"] for part in text.split(",")]
    if not dry_run and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: exists and is not empty; choose another folder")
    found = find_shipment(model, warn)
    plan = plan_export(found.shipment, forms, dtype)
    _show(plan, every_tensor=dry_run)
    if dry_run:
        return
    screen = console(stderr=True)
    with progress_bars(screen) as tell:
        exported = export_forms(
            found,
            ExportJob(plan, out, items, max_probes, accept, no_gate),
            lambda line: screen.print(line, markup=False),
            tell,
        )
    show_forms(exported.certificate)
    for one in exported.gated:
        console().print(f"gate: {one.describe()}", markup=False, soft_wrap=True)
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
