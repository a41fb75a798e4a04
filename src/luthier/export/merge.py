"""Merge an adapter into its base and write a plain model folder that any runtime can load.

The merge is done on the full-precision base, in float32, and cast once at the end, piece by piece: a model larger than
memory merges. The folder holds the weights, the tokenizer with the training template, and a generation config whose end
of text is the template's end of turn, so that the model stops where it learnt to. This file knows nothing of runs or
certificates.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.chat.render import Renderer
from luthier.errors import ExportError
from luthier.export.merge_plan import PIECE_BYTES, MergePlan, TensorPlan, free_bytes, plan_merge
from luthier.export.tensor_files import Entry, stored_tensors, write_tensors
from luthier.files import atomic_directory, write_json_atomic
from luthier.models.load import Source, attach_adapter, find_model, load_tokenizer, load_weights

Progress = Callable[[int], None]
"""Hears how many bytes were written."""


def merge(ref: str, out: Path, *, dtype: str = "auto", replace: bool = False) -> Source:
    """Write the model `ref` (an adapter or a whole model) to the folder `out` as plain weights.

    `dtype`: auto (as the base is stored), float32, bfloat16 or float16. Raises ExportError where `out` exists and is
    not empty (unless `replace`), or where the adapter changes nothing; ModelError where `ref` cannot be loaded.
    """
    if not replace and out.exists() and any(out.iterdir()):
        raise ExportError(f"{out}: the folder exists and is not empty; choose another one")
    apply_merge(plan_merge(find_model(ref), dtype), out)
    return find_model(str(out))


def apply_merge(plan: MergePlan, out: Path, progress: Progress = lambda _: None) -> None:
    """Write what was planned; whole or not at all. Raises ExportError where the disk has no room for it."""
    if (room := free_bytes(out.parent)) < plan.num_bytes:
        raise ExportError(
            f"{out}: the merged weights take {plan.num_bytes / 1e9:.2f} GB and the disk has {room / 1e9:.2f} GB free"
        )
    tokenizer = load_tokenizer(plan.source.tokenizer_place)
    with atomic_directory(out) as beside:
        if plan.whole_because is not None:
            model = _merge_whole(plan)
            model.generation_config = generation_config(tokenizer)
            model.save_pretrained(beside)
        else:
            _merge_by_pieces(plan, beside, progress)
            plan.config.save_pretrained(beside)
        generation_config(tokenizer).save_pretrained(beside)
        tokenizer.save_pretrained(beside)


def _merge_by_pieces(plan: MergePlan, folder: Path, progress: Progress) -> None:
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    changed = 0

    def pieces(entry: Entry) -> Iterator[Tensor]:
        nonlocal changed
        for piece, moved in _pieces(tensors[entry.name]):
            changed += moved
            yield piece
            progress(piece.numel() * piece.element_size())

    for file, entries in plan.files.items():
        write_tensors(folder / file, entries, pieces)
    if plan.source.adapter is not None and not changed:
        raise ExportError(
            f"{plan.source.adapter}: merging it changed no weight: the adapter is empty, or its keys do not fit"
        )
    _write_index(plan, folder)
    _check_written(plan, folder)


def _pieces(tensor: TensorPlan) -> Iterator[tuple[Tensor, bool]]:
    """The rows of the result in order, each piece with whether the adapter changed it."""
    change = tensor.change
    if change is not None and change.trained is not None:
        yield change.trained.to(tensor.dtype), True
        return
    stored = tensor.stored
    assert stored is not None
    step = stored.num_rows if change is not None and not change.by_rows else _rows_of_a_piece(tensor)
    for first in range(0, stored.num_rows, step):
        rows = stored.rows(first, min(first + step, stored.num_rows))
        if change is None:
            yield _cast(tensor.name, rows, tensor.dtype), False
            continue
        full = rows.float()
        merged = change.apply(full, first)
        yield _cast(tensor.name, merged, tensor.dtype), not torch.equal(full, merged)


def _rows_of_a_piece(tensor: TensorPlan) -> int:
    row_bytes = 4 * max(1, torch.Size(tensor.shape[1:]).numel())
    return max(1, PIECE_BYTES // row_bytes)


def _cast(name: str, rows: Tensor, dtype: torch.dtype) -> Tensor:
    if not rows.is_floating_point():
        return rows
    cast = rows.to(dtype)
    if not torch.isfinite(cast).all():
        why = "the weights are not finite" if not torch.isfinite(rows).all() else f"{dtype} cannot hold them"
        raise ExportError(f"{name}: {why}, so the merged model would answer nonsense. Take --dtype float32")
    return cast


def _merge_whole(plan: MergePlan) -> Any:
    source = plan.source
    model = load_weights(source.base, torch.float32, rope_scaling=source.rope_scaling)
    if source.adapter is None:
        return model.to(plan.dtype)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    merged = attach_adapter(model, source.adapter).merge_and_unload(safe_merge=True)
    if all(torch.equal(before[name], p) for name, p in merged.named_parameters() if name in before):
        raise ExportError(
            f"{source.adapter}: merging it changed no weight: the adapter is empty, or its keys do not fit"
        )
    return merged.to(plan.dtype)


def _write_index(plan: MergePlan, folder: Path) -> None:
    if len(plan.files) > 1:
        weight_map = {entry.name: file for file, entries in plan.files.items() for entry in entries}
        index = {"metadata": {"total_size": plan.num_bytes}, "weight_map": dict(sorted(weight_map.items()))}
        write_json_atomic(folder / "model.safetensors.index.json", index)


def _check_written(plan: MergePlan, folder: Path) -> None:
    """The headers, read back, say what was planned."""
    for file, entries in plan.files.items():
        found = {name: (one.dtype, one.shape) for name, one in stored_tensors(folder / file).items()}
        if found != {entry.name: (entry.dtype, entry.shape) for entry in entries}:
            raise ExportError(
                f"{folder / file}: what was written is not what was planned; is the disk sound?"
            )


def generation_config(tokenizer: Any) -> Any:
    """Stops where the template ends a turn; states no sampling."""
    from transformers import GenerationConfig

    return GenerationConfig(
        eos_token_id=list(Renderer(tokenizer).stop_ids),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
