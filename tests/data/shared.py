"""Where the real files lie that no one here wrote. Tests that read them skip, and say so, where they are absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no real data beside the checkout ({SHARED.name})"
)
