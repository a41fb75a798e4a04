"""Hold rows out for validation: by the hash of a row's prompt, so that the choice is stable.

Rows that share a prompt stay on the same side, and adding rows never moves one across.
This file knows nothing of tokens.
"""

from collections.abc import Sequence
from typing import Any

from luthier.data.sources import Row
from luthier.errors import DataError
from luthier.hashing import hash_json


def hold_out(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(train, validation) rows; about `share` of the prompts are held out.

    Raises DataError if a side is empty.
    """
    train: list[Row] = []
    held_out: list[Row] = []
    for row in rows:
        digest = hash_json(_prompt(row.value)).removeprefix("sha256:")
        side = held_out if int(digest[:8], 16) / 2**32 < share else train
        side.append(row)
    if not train or not held_out:
        raise DataError(
            f"holding out {share:.0%} of {len(rows)} rows leaves {len(train)} to train on and "
            f"{len(held_out)} to validate on: change data.validation_share, or give data.validation a file"
        )
    return train, held_out


def _prompt(value: dict[str, Any]) -> Any:
    messages = value.get("messages")
    if isinstance(messages, list) and messages:
        return messages[:-1]
    return next((value[key] for key in ("prompt", "question", "instruction", "text") if key in value), value)
