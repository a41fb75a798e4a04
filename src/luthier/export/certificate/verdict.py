"""The words of a certificate: per line and form, what was found, how far off, and the likely cause.

Knows nothing of how anything was measured.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from luthier.errors import NotTheSame

Word = Literal["identical", "equal within tolerance", "different", "not run"]
_ORDER: tuple[Word, ...] = ("different", "equal within tolerance", "identical", "not run")
CAUSES = (
    "template",
    "tokenizer",
    "BOS",
    "stop ids",
    "adapter not applied",
    "scale",
    "permuted heads",
    "dtype",
    "quantisation",
    "weights",
    "decoding",
)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What rounding may do: `relative` is the root mean square of logit differences over the logits' spread; `top1` the
    share of positions whose best token is the same, ties within rounding counted as the same."""

    relative: float
    top1: float


TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(1e-3, 1.0),
    "float32 adapter in GGUF": Tolerance(2e-3, 1.0),
    "float16": Tolerance(1e-2, 1.0),
    "bfloat16": Tolerance(5e-2, 0.99),
    "8 bit": Tolerance(1e-1, 0.99),
    "6 bit": Tolerance(1.5e-1, 0.95),
    "5 bit": Tolerance(2.5e-1, 0.9),
    "4 bit": Tolerance(4e-1, 0.8),
    "3 bit": Tolerance(7e-1, 0.6),
    "2 bit": Tolerance(1.0, 0.4),
}
"""Bounds with room: what exports were measured at stands in docs/export.md. Below 8 bits the domain's score says what
is lost; these bounds only find what is broken."""


@dataclass(frozen=True)
class Line:
    """One thing compared. `cause`: of CAUSES, where the word is `different`."""

    what: str
    word: Word
    detail: str
    cause: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The word, with the cause where there is one."""
        return f"{self.word}: {self.cause}" if self.cause else self.word


@dataclass(frozen=True)
class FormVerdict:
    """One form against the trained model."""

    form: str
    precision: str
    lines: tuple[Line, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were tested, by name."""

    @property
    def word(self) -> Word:
        return min((line.word for line in self.lines), key=_ORDER.index, default="not run")

    @property
    def causes(self) -> tuple[str, ...]:
        """Each cause once, the first found first."""
        return tuple(dict.fromkeys(line.cause for line in self.lines if line.cause))

    @property
    def said(self) -> str:
        return f"{self.word}: {', '.join(self.causes)}" if self.causes else self.word


@dataclass(frozen=True)
class Certificate:
    """All forms of a model. `accepted`: why a form that differs was let go, where somebody said so."""

    model: str
    num_probes: int
    forms: tuple[FormVerdict, ...]
    notes: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    accepted: str | None = None

    @property
    def word(self) -> Word:
        return min((form.word for form in self.forms), key=_ORDER.index, default="not run")

    def require(self) -> "Certificate":
        """Raises NotTheSame where a form differs and nobody accepted it."""
        if self.word == "different" and self.accepted is None:
            broken = [form for form in self.forms if form.word == "different"]
            lines = [
                f"{form.form} {line.said} ({line.what}: {line.detail})"
                for form in broken
                for line in form.lines
                if line.word == "different"
            ]
            raise NotTheSame(
                f"{broken[0].form} does not answer like {self.model}. "
                + "; ".join(lines)
                + '. Mend it, or let it go with --accept "why", which is recorded'
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """As it is read back from JSON: lists, no tuples."""
        said = [{"word": form.word, "causes": form.causes, **asdict(form)} for form in self.forms]
        whole: dict[str, Any] = json.loads(json.dumps({"word": self.word, **asdict(self), "forms": said}))
        return whole

    def describe(self) -> str:
        """One line for a person."""
        return "; ".join(f"{form.form}: {form.said}" for form in self.forms)
