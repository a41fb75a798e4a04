"""Plan and write the forms of a model, each in a folder of its own beside the others.

A form that is made of another one (a GGUF of the merged weights) uses it where it was asked for too, and else makes it
in a scratch folder. Knows nothing of certificates.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import ExportError
from luthier.export.adapter_folder import FILES, write_adapter
from luthier.export.card import render_card
from luthier.export.merge import apply_merge
from luthier.export.merge_plan import MergePlan, plan_merge
from luthier.export.shipment import FormName, Shipment
from luthier.files import write_text_atomic

Say = Callable[[str], None]
GGUF_FILE = "model.gguf"
GGUF_LORA_FILE = "adapter.gguf"
_OF_WEIGHTS = ("hf", "gguf", "ollama", "mlx")
_BYTES_OF_WEIGHT = {
    "float32": 4.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "8 bit": 1.07,
    "6 bit": 0.82,
    "5 bit": 0.7,
    "4 bit": 0.6,
    "3 bit": 0.5,
    "2 bit": 0.4,
}


@dataclass(frozen=True)
class Planned:
    """One form: where it goes, its files with sizes where they are known beforehand, about how large it will be."""

    form: FormName
    files: tuple[str, ...]
    num_bytes: int

    def describe(self) -> str:
        return f"{self.form}: {self.form.folder}/ ({', '.join(self.files)}), about {self.num_bytes / 1e6:,.1f} MB"


@dataclass(frozen=True)
class ExportPlan:
    """All forms, and the merge that they share (None where none needs merged weights)."""

    shipment: Shipment
    forms: tuple[Planned, ...]
    merge: MergePlan | None

    def describe(self) -> list[str]:
        """Lines for a person: forms, then every tensor of the merge."""
        lines = [
            f"{self.shipment.name}: base {self.shipment.source.base}",
            *(one.describe() for one in self.forms),
        ]
        if self.merge is not None:
            how = self.merge.whole_because
            lines.append(
                f"merge: {len(self.merge.tensors)} tensors, {self.merge.num_changed} changed, "
                + (f"whole in memory because {how}" if how else "piece by piece")
                + f", about {self.merge.memory_bytes / 1e6:,.0f} MB of memory"
            )
        return lines


def plan_export(shipment: Shipment, forms: Sequence[FormName], dtype: str = "auto") -> ExportPlan:
    """Read headers and say what will be written. Raises ExportError for a form that this model cannot take."""
    wanted = list(dict.fromkeys(forms))
    lora = shipment.source.adapter is not None
    if any(form.kind == "vllm" for form in wanted):  # it names the folder that it serves
        wanted += [one for one in [FormName("peft" if lora else "hf")] if one not in wanted]
    for form in wanted:
        if form.kind in ("peft", "gguf-lora") and not lora:
            raise ExportError(
                f"{shipment.name} is whole weights, not an adapter: {form} cannot be written; take hf"
            )
    merge = plan_merge(shipment.source, dtype) if any(form.kind in _OF_WEIGHTS for form in wanted) else None
    return ExportPlan(shipment, tuple(_planned(form, shipment, merge) for form in wanted), merge)


def _planned(form: FormName, shipment: Shipment, merge: MergePlan | None) -> Planned:
    adapter = shipment.source.adapter
    small = (adapter / FILES[1]).stat().st_size if adapter is not None else 0
    numbers = sum(one.num_bytes // one.dtype.itemsize for one in merge.tensors) if merge is not None else 0
    packed = int(numbers * _BYTES_OF_WEIGHT.get(form.bits, 2.0))
    if form.kind == "hf" and merge is not None:
        sizes = merge.file_sizes()
        return Planned(
            form, (*sizes, "config.json", "tokenizer", "generation_config.json", "README.md"), merge.num_bytes
        )
    return {
        "peft": lambda: Planned(form, (*FILES[:2], "base.json", "tokenizer", "README.md"), small),
        "gguf": lambda: Planned(form, (GGUF_FILE,), packed),
        "gguf-lora": lambda: Planned(form, (GGUF_LORA_FILE,), small),
        "ollama": lambda: Planned(form, ("Modelfile", "weights"), packed),
        "mlx": lambda: Planned(form, ("model.safetensors", "config.json", "tokenizer"), packed),
        "vllm": lambda: Planned(form, ("serve.sh",), 0),
    }[form.kind]()


def apply_export(plan: ExportPlan, out: Path, final: Path, say: Say) -> None:
    """Write every form under `out`, which will be called `final` when all is proven."""
    with _merged(plan, out, say) as merged:
        for one in plan.forms:
            if one.form.kind != "hf":
                _write(one.form, plan.shipment, merged, out, final)
            say(f"{one.form}: written")


@contextmanager
def _merged(plan: ExportPlan, out: Path, say: Say) -> Iterator[Path | None]:
    """The folder of merged weights: the form hf itself, or a scratch one."""
    if plan.merge is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".merged-") as scratch:
        ships = any(one.form.kind == "hf" for one in plan.forms)
        folder = out / "hf" if ships else Path(scratch) / "hf"
        apply_merge(plan.merge, folder)
        say(f"merged: {plan.merge.num_changed} of {len(plan.merge.tensors)} tensors changed")
        if ships:
            write_text_atomic(
                folder / "README.md",
                render_card(plan.shipment, merged=plan.shipment.source.adapter is not None),
            )
        yield folder


def _write(form: FormName, shipment: Shipment, merged: Path | None, out: Path, final: Path) -> None:
    folder, source = out / form.folder, shipment.source
    if form.kind == "peft":
        write_adapter(shipment, folder)
        write_text_atomic(folder / "README.md", render_card(shipment, merged=False))
    elif form.kind == "gguf-lora":
        from luthier.export.gguf.lora import write_gguf_lora

        assert source.adapter is not None
        folder.mkdir()
        write_gguf_lora(source.adapter, source.base, folder / GGUF_LORA_FILE)
    elif form.kind == "vllm":
        from luthier.export.vllm import write_vllm

        write_vllm(shipment, folder, final)
    else:
        assert merged is not None
        _write_of_weights(form, shipment, merged, folder)


def _write_of_weights(form: FormName, shipment: Shipment, merged: Path, folder: Path) -> None:
    if form.kind == "gguf":
        from luthier.export.gguf.write import write_gguf

        folder.mkdir()
        write_gguf(merged, folder / GGUF_FILE, form.variant)
    elif form.kind == "mlx":
        from luthier.export.mlx import write_mlx

        write_mlx(merged, folder, int(form.variant))
    else:
        from luthier.export.ollama.folder import write_ollama

        write_ollama(shipment, merged, folder, form.variant)
