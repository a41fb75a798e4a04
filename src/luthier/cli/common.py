"""What several verbs share: the console, and what a person may call a model.

Imports nothing heavy at its top.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.models.load import LoadedModel


def console(*, stderr: bool = False) -> "Console":
    """A console that does not colour numbers by guess."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def quiet_libraries() -> None:
    """Libraries' own progress bars and notices would run through ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def model_ref(ref: str) -> str:
    """A run folder stands for the model that came out of it; anything else is what it says.

    Raises RunError where the run has not finished and so has no model.
    """
    from luthier.errors import RunError
    from luthier.registry.runs import is_run, open_run

    folder = Path(ref)
    if not is_run(folder):
        return ref
    run = open_run(folder)
    if not run.model_folder.is_dir():
        raise RunError(
            f"{ref}: this run is {run.status()} and has no model yet; continue it: luthier train --resume {ref}"
        )
    return str(run.model_folder)


def load(ref: str, *, dtype: str = "auto", device: str = "auto") -> "LoadedModel":
    """Load what a person called a model: a run, a folder, an embedded name or a hub id."""
    from luthier.models.load import load_model

    quiet_libraries()
    return load_model(model_ref(ref), dtype=dtype, device=device)


def read_text_option(value: str | None) -> str | None:
    """An option's text; `@file` reads it from a file."""
    from luthier.errors import ConfigError

    if value is None or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError(f"cannot read {value[1:]}: {error.strerror}") from error


def print_json(value: Any) -> None:
    """JSON for another program."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
