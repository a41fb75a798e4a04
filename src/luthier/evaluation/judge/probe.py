"""The built-in probe: questions with answers whose worth is known, and attempts to move a judge.

Both were written by this project and ship as YAML files beside this one.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from luthier.config import Config, build
from luthier.hashing import hash_json

_Text = Annotated[str, Field(min_length=1)]


class ProbeQuestion(Config):
    """A question with a right and a wrong answer, each short and long."""

    id: _Text
    question: _Text
    good: _Text
    bad: _Text
    long_good: _Text
    long_bad: _Text


class Injection(Config):
    """An attempt to move the judge. `text` holds `{answer}`: the wrong answer that carries it."""

    id: _Text
    kind: _Text
    text: _Text

    def carried_by(self, answer: str) -> str:
        """The answer with the attempt in it."""
        return self.text.format(answer=answer)


class Probe(Config):
    """What a judge is tested with."""

    questions: Annotated[tuple[ProbeQuestion, ...], Field(min_length=1)]
    injections: Annotated[tuple[Injection, ...], Field(min_length=1)]

    @property
    def hash(self) -> str:
        """The id of all that it holds."""
        return hash_json(self.model_dump(mode="json"))


def builtin_probe() -> Probe:
    """The probe that ships."""
    folder = Path(str(files("luthier.evaluation.judge")))
    values = {
        name: yaml.safe_load((folder / f"{file}.yaml").read_text(encoding="utf-8"))
        for name, file in (("questions", "probe"), ("injections", "injections"))
    }
    return build(Probe, values, where="the built-in probe")
