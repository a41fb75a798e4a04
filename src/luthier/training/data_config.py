"""The data section of a recipe: which rows, how they are written, and what becomes of those that are too long.

This file knows nothing of torch, or of how rows are read.
"""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from luthier.config import Config
from luthier.data.formats import FORMATS
from luthier.data.truncate import TooLong


class DataConfig(Config):
    """Which rows, how they are written, and how long they may be (in tokens).

    `format`: a name in `luthier.data.formats.FORMATS`, None = recognised file by file. `fields`: the files' own names
    of fields -> the format's names. `overlap`: what windows share, in tokens or as a share of `max_length`.
    """

    train: list[str] = Field(min_length=1)
    validation: str | None = None
    validation_share: Annotated[float, Field(ge=0.0, lt=1.0)]
    format: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    max_length: Annotated[int, Field(ge=2)]
    too_long: TooLong
    overlap: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]

    @property
    def overlap_tokens(self) -> int:
        """What neighbouring windows share, in tokens."""
        return self.overlap if isinstance(self.overlap, int) else int(self.overlap * self.max_length)

    @field_validator("too_long", mode="before")
    @classmethod
    def _new_name(cls, value: Any) -> Any:
        if value == "truncate":
            raise ValueError("truncate is called head now: it keeps the head of a row and cuts its end")
        return value

    @field_validator("format")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in FORMATS:
            raise ValueError(f"expected one of {', '.join(FORMATS)}")
        return value

    @model_validator(mode="after")
    def _windows_move_on(self) -> "DataConfig":
        if self.overlap_tokens >= self.max_length:
            raise ValueError(
                f"an overlap of {self.overlap} leaves nothing new in a window of max_length {self.max_length}"
            )
        return self

    @model_validator(mode="after")
    def _one_validation(self) -> "DataConfig":
        if self.validation is not None and self.validation_share > 0:
            raise ValueError("give either a validation file or a validation_share")
        return self
