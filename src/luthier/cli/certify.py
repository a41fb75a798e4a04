"""`luthier certify`: forms that exist already, or a running server, held against the trained model."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import print_json, quiet_libraries, warn
from luthier.cli.export import Items, MaxProbes, Model, show_forms

if TYPE_CHECKING:
    from luthier.pipeline.certifying import Open
    from luthier.pipeline.shipping import Found


Forms = Annotated[
    str,
    typer.Option(
        help="Comma-separated: FORM (made for the check), FORM=PATH (as it stands), server=URL#MODEL. Forms: hf, "
        "peft, gguf:TYPE, gguf-lora, mlx:BITS, ollama."
    ),
]


def certify(
    model: Model,
    forms: Forms,
    out: Annotated[
        Path | None, typer.Option(help="A folder for certificate.json and certificate.html.")
    ] = None,
    items: Items = None,
    max_probes: MaxProbes = 100,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask every form the same probes as the trained model. Exit code 1 where one differs, with its cause."""
    from luthier.pipeline.certifying import ask_trained, certify_forms, read_items, write_certificate
    from luthier.pipeline.shipping import find_shipment

    quiet_libraries()
    found = find_shipment(model, warn)
    with tempfile.TemporaryDirectory() as scratch:
        openers = _openers(found, [one.strip() for one in forms.split(",") if one.strip()], Path(scratch))
        asked, notes = ask_trained(
            found.model, found.shipment, read_items(items or found.items), max_probes=max_probes
        )
        certificate = certify_forms(asked, openers, found.shipment, notes)
    found.record("certificate", certificate.to_dict())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_certificate(certificate, out)
    if json:
        print_json(certificate.to_dict())
    else:
        show_forms(certificate)
    raise typer.Exit(1 if certificate.word == "different" else 0)


def _openers(found: "Found", forms: list[str], scratch: Path) -> "list[Open]":
    """The forms with a path as they stand; the others are made in `scratch` first."""
    from luthier.errors import ConfigError
    from luthier.export.shipment import parse_form
    from luthier.export.write import apply_export, plan_export
    from luthier.pipeline.certifying import opener, server_opener

    if not forms:
        raise ConfigError(
            "--forms: expected one or more, such as hf,gguf:q4_k_m,server=http://localhost:8000/v1#name"
        )
    made = [parse_form(one) for one in forms if "=" not in one]
    if made:
        out = scratch / "forms"
        out.mkdir()
        apply_export(plan_export(found.shipment, made), out, out, lambda _: None)
    openers: list[Open] = []
    for text in forms:
        kind, _, place = text.partition("=")
        if kind == "server":
            openers.append(server_opener(place, found.shipment.name))
            continue
        form = parse_form(kind)
        open_form = opener(
            form, Path(place) if place else scratch / "forms" / form.folder, found.shipment, scratch
        )
        if open_form is None:
            raise ConfigError(f"--forms {text}: it holds no model; certify the server: server=URL#MODEL")
        openers.append(open_form)
    return openers
