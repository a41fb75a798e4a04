"""A folder for mlx-lm, on Apple's machines and, slowly, on any CPU.

mlx-lm converts and quantises; what it leaves out (the stop ids of the template) is written beside. Knows nothing of
adapters: it takes merged weights.
"""

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

from luthier.errors import ExportError

GROUP_SIZE = 64
"""So many weights share a scale and an offset: mlx-lm's own default. Rows that it does not divide stay as they are."""


def mlx_lm() -> Any:
    """The mlx_lm package. Raises ExportError with the command that installs it."""
    try:
        import mlx_lm
    except ImportError as error:
        raise ExportError(
            "mlx folders are written and run by mlx-lm, which is not installed: pip install 'luthier[mlx]'"
        ) from error
    return mlx_lm


def write_mlx(merged: Path, folder: Path, bits: int) -> None:
    """Convert a merged folder; bits: 4, 8, or 16 for weights as they are. Raises ExportError where mlx-lm cannot."""
    package = mlx_lm()
    quantised: dict[str, Any] = {"quantize": True, "q_bits": bits, "q_group_size": GROUP_SIZE}
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it speaks while it converts
            package.convert(str(merged), mlx_path=str(folder), **(quantised if bits < 16 else {}))
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ExportError(f"mlx-lm cannot convert this model: {error}") from error
    (folder / "README.md").unlink(missing_ok=True)  # it speaks of a hub
    shutil.copyfile(merged / "generation_config.json", folder / "generation_config.json")
