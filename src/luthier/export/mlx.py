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


def mlx_lm() -> Any:
    """The mlx_lm package. Raises ExportError with the command that installs it."""
    try:
        import mlx_lm
    except ImportError as error:
        raise ExportError(
            "mlx folders are written by mlx-lm, which is not installed: pip install 'luthier[mlx]'"
        ) from error
    return mlx_lm


def write_mlx(merged: Path, folder: Path, bits: int) -> None:
    """Convert a merged folder; 4 and 8 bits in groups of 64. Raises ExportError where mlx-lm cannot."""
    package = mlx_lm()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it speaks while it converts
            package.convert(
                str(merged), mlx_path=str(folder), quantize=bits < 16, q_bits=min(bits, 8), q_group_size=64
            )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ExportError(f"mlx-lm cannot convert this model: {error}") from error
    (folder / "README.md").unlink(missing_ok=True)  # it speaks of a hub
    shutil.copyfile(merged / "generation_config.json", folder / "generation_config.json")
