"""What several verbs share: the console, and what a person may call a model.

Imports nothing heavy at its top.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.models.load import LoadedModel
    from luthier.registry.specialist import Specialist
    from luthier.registry.specialists import SpecialistStore


def console(*, stderr: bool = False) -> "Console":
    """A console that does not colour numbers by guess."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def warn(text: str) -> None:
    """Something that a person should know and that stops nothing, on stderr."""
    console(stderr=True).print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


@contextmanager
def progress_bars(screen: "Console") -> Iterator[Callable[[str, int, int], None]]:
    """A function to tell of progress: what, how much is done, of how much. A bar for each `what`, gone at the end."""
    from rich.progress import Progress

    with Progress(console=screen, transient=True) as progress:
        bars: dict[str, int] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done)  # type: ignore[arg-type]

        yield tell


def quiet_libraries() -> None:
    """Libraries' own progress bars and notices would run through ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def specialist(ref: str) -> "tuple[SpecialistStore, Specialist] | None":
    """The specialist that is meant: NAME@VERSION always, a bare NAME where the store has it and nothing else is it.

    Raises RegistryError where NAME@VERSION is not there.
    """
    from luthier.models.embedded import EMBEDDED
    from luthier.registry.specialist import NAME
    from luthier.registry.specialists import default_store, has_default_store

    name, at, _ = ref.partition("@")
    if ref in EMBEDDED or not NAME.fullmatch(name) or Path(ref).exists():
        return None
    if not at and not (has_default_store() and name in default_store().names()):
        return None
    store = default_store()
    return store, store.find(ref)


def model_ref(ref: str) -> str:
    """A run folder stands for the model that came out of it, a specialist for its own; anything else is what it says.

    Raises RunError where the run has not finished and so has no model, RegistryError where there is no such specialist.
    """
    from luthier.errors import RunError
    from luthier.registry.runs import is_run, open_run

    if (found := specialist(ref)) is not None:
        store, one = found
        return str(store.opened(one) / "model")

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
