"""Certify forms of a model: what is asked, what the domain's score is, how each form is opened.

Knows nothing of how forms are written.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from luthier.errors import ConfigError, ModelError
from luthier.evaluation.graders import GRADERS
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import grade_safely
from luthier.evaluation.stats.intervals import wilson_interval
from luthier.evaluation.task import load_items
from luthier.export.certificate.check import Asked, Domain, Opened, ask, certify
from luthier.export.certificate.forms import FolderForm, Trained
from luthier.export.certificate.page import render_page
from luthier.export.certificate.probes import Probe, built_in, from_rows
from luthier.export.certificate.verdict import Certificate
from luthier.export.shipment import FormName, Shipment
from luthier.export.write import GGUF_FILE, GGUF_LORA_FILE
from luthier.files import write_json_atomic, write_text_atomic
from luthier.hashing import hash_file
from luthier.models.load import load_model

Open = Callable[[ExitStack], Opened]


def ask_trained(
    model: str,
    shipment: Shipment,
    items: Sequence[EvalItem] = (),
    *,
    max_probes: int = 100,
    max_new_tokens: int = 64,
    device: str = "auto",
) -> tuple[Asked, list[str]]:
    """The trained model's answers to the built-in probes and to its test items, and notes on what was left out."""
    trained = Trained(load_model(model, dtype="float32", device=device))
    probes, refused = built_in(trained.renderer, shipment.system_prompt)
    notes = [f"the template cannot show: {', '.join(dict.fromkeys(refused))}"] if refused else []
    rows = from_rows([list(item.messages) for item in items])[: max(0, max_probes - len(probes))]
    asked, too_long = _fitting(trained, [*probes, *rows][:max_probes])
    if too_long:
        notes.append(f"{too_long} probes are longer than the model's context and were not asked")
    domain = domain_of(items) if items else None
    return ask(trained, asked, max_new_tokens=max_new_tokens, domain=domain), notes


def _fitting(trained: Trained, probes: Sequence[Probe]) -> tuple[list[Probe], int]:
    """(probes that leave room for an answer, how many do not). Raises ModelError where none does."""
    context = trained.loaded.context_length
    kept = [probe for probe in probes if not context or len(trained.prompt_ids(probe)) < context]
    if not kept:
        raise ModelError(
            f"{trained.name}: no probe fits into its context of {context} tokens, so nothing can be compared"
        )
    return kept, len(probes) - len(kept)


def domain_of(items: Sequence[EvalItem]) -> Domain:
    """The items with their graders; the interval is Wilson's, over whole passes."""

    def grade(number: int, text: str) -> float:
        item = items[number]
        return float(grade_safely(GRADERS[item.grader], item, text).word == "passed")

    def interval(grades: Sequence[float]) -> tuple[float, float]:
        found = wilson_interval(int(sum(grades)), len(grades))
        return found.low, found.high

    return Domain([Probe("test set", tuple(item.messages)) for item in items], grade, interval)


def read_items(path: Path | None) -> tuple[EvalItem, ...]:
    """Evaluation items; none without a file."""
    return load_items(path) if path is not None else ()


def opener(form: FormName, place: Path, shipment: Shipment, scratch: Path) -> Open | None:
    """How the form that stands at `place` is opened; None for what holds no model (a command line).

    scratch: a folder for what only the check needs.
    """
    name, hashes = str(form), partial(hashes_of, place)
    if form.kind == "hf":
        return lambda _: (FolderForm(place, name), hashes())
    if form.kind == "peft":
        return lambda _: (FolderForm(place, name, "float32"), hashes())
    if form.kind == "gguf":
        return lambda stack: (_gguf(stack, place / GGUF_FILE if place.is_dir() else place, form), hashes())
    if form.kind == "gguf-lora":
        return lambda stack: (_gguf_lora(stack, place, form, shipment, scratch), hashes())
    if form.kind == "mlx":
        return lambda _: (_mlx(place, form), hashes())
    if form.kind == "ollama":
        if form.variant == "hf":
            return lambda _: (FolderForm(place, name), hashes())
        return lambda stack: (_gguf(stack, place / GGUF_FILE, form), hashes())
    return None


def hashes_of(place: Path) -> Mapping[str, str]:
    """SHA-256 of a file, or of each file in a folder by its path there."""
    if place.is_file():
        return {place.name: hash_file(place)}
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): hash_file(path) for path in files}


def _gguf(stack: ExitStack, file: Path, form: FormName, adapter: Path | None = None) -> Any:
    from luthier.export.certificate.gguf_form import GgufForm

    opened = GgufForm(file, str(form), form.bits, adapter)
    stack.callback(opened.close)
    return opened


def _gguf_lora(stack: ExitStack, place: Path, form: FormName, shipment: Shipment, scratch: Path) -> Any:
    """An adapter answers only over a base: one is written for the time of the checks, in float32."""
    from luthier.export.gguf.write import write_gguf

    base = Path(shipment.source.base)
    if not base.is_dir():
        raise ConfigError(f"{form}: certifying it needs the base as a folder; {base} is none")
    base_gguf = scratch / "base.gguf"
    if not base_gguf.is_file():
        write_gguf(base, base_gguf, "f32")
    adapter = place / GGUF_LORA_FILE if place.is_dir() else place
    return _gguf(stack, base_gguf, form, adapter)


def _mlx(place: Path, form: FormName) -> Any:
    from luthier.export.certificate.mlx_form import MlxForm

    return MlxForm(place, str(form), None if form.variant == "16" else form.bits)


def server_opener(url: str, model: str) -> Open:
    """`server=URL#MODEL`."""
    from luthier.export.certificate.server_form import ServerForm
    from luthier.models.endpoint import is_endpoint, parse_endpoint

    if not is_endpoint(url):
        raise ConfigError(
            f"server={url}: expected server=URL#MODEL, such as server=http://localhost:8000/v1#{model}"
        )

    def open_server(stack: ExitStack) -> Opened:
        form = ServerForm(parse_endpoint(url if "#" in url else f"{url}#{model}"))
        stack.callback(form.close)
        return form, {}

    return open_server


def certify_forms(
    asked: Asked,
    openers: Sequence[Open],
    shipment: Shipment,
    notes: Sequence[str],
    accepted: str | None = None,
) -> Certificate:
    """Check all, with what was certified noted."""
    identity = {"model": shipment.name, **shipment.hashes, "template": asked.trained.renderer.template_hash}
    found = certify(asked, openers, notes=notes, identity=identity, accepted=accepted)
    return replace(found, model=shipment.name)


def write_certificate(certificate: Certificate, folder: Path, stem: str = "certificate") -> None:
    """JSON for programs, a page for people."""
    write_json_atomic(folder / f"{stem}.json", certificate.to_dict())
    write_text_atomic(folder / f"{stem}.html", render_page(certificate))
