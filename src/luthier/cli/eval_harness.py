"""`luthier eval --task lm-eval:NAME`: tasks of the lm-evaluation-harness.

Imports nothing heavy at its top.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.common import console, load, model_ref, print_json
from luthier.files import file_name

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.evaluation.harness import HarnessResult


def of_harness(tasks: Sequence[Path] | None, refused: Mapping[str, bool]) -> list[str]:
    """The tasks of the harness among those named, without their prefix.

    `refused`: options that the harness has no use for, and whether they were given. Raises ConfigError for one of them,
    and where tasks of Luthier stand beside.
    """
    from luthier.errors import ConfigError
    from luthier.evaluation.harness import PREFIX

    named = [str(task) for task in tasks or ()]
    found = [task.removeprefix(PREFIX) for task in named if task.startswith(PREFIX)]
    if found and len(found) < len(named):
        raise ConfigError(
            f"{PREFIX} tasks have prompts and figures of their own: evaluate other tasks by themselves"
        )
    for option in (option for option, was_given in refused.items() if found and was_given):
        raise ConfigError(f"{option} has no effect on {PREFIX} tasks; remove it")
    return found


def evaluate(
    models: Sequence[str], tasks: Sequence[str], out: Path, batch_size: int, dtype: str, json: bool
) -> None:
    """Ask local models, keep each item, show what the harness says."""
    from luthier.errors import ConfigError
    from luthier.evaluation.harness import PREFIX, run_harness
    from luthier.evaluation.runner import save_result
    from luthier.models.endpoint import is_endpoint

    found: list[HarnessResult] = []
    for ref in models:
        if is_endpoint(ref) or ref.lower().endswith(".gguf"):
            raise ConfigError(
                f"{ref}: {PREFIX} tasks need a model that is loaded here: a run, a folder or a name"
            )
        loaded = load(model_ref(ref), dtype=dtype)
        for task in tasks:
            found.append(run_harness(loaded, ref, task, batch_size=batch_size))
            save_result(found[-1].result, out / f"{file_name(ref)}-lm-eval-{found[-1].task}.jsonl")
    if json:
        print_json([_values(one) for one in found])
        return
    console().print(_table(found))


def _values(one: "HarnessResult") -> dict[str, Any]:
    figures = {
        name: {"value": value, "standard_error": error} for name, (value, error) in one.figures.items()
    }
    return {**one.result.summary(), "task": one.task, "figures": figures}


def _table(found: "Sequence[HarnessResult]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    shown = Table("model", "task", "items", "figure", "value (standard error)", title="lm-evaluation-harness")
    for one in found:
        for name, (value, error) in one.figures.items():
            spread = f" ({error:.4f})" if error is not None else ""
            cells = (
                one.result.model_name,
                one.task,
                str(len(one.result.items)),
                name,
                f"{value:.4f}{spread}",
            )
            shown.add_row(*map(Text, cells))
    return shown
