"""A policy of guards: a small YAML file, every key of it with a default. Paths in it count from its folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from luthier.config import Config, build, merge_layers, read_layers
from luthier.errors import ConfigError
from luthier.private import PERSONAL, SECRET
from luthier.serving.guards.groundedness import groundedness
from luthier.serving.guards.guard import Action, Guard
from luthier.serving.guards.guard_set import REFUSAL, GuardSet
from luthier.serving.guards.injection import injection
from luthier.serving.guards.length import length
from luthier.serving.guards.private import private
from luthier.serving.guards.schema import schema
from luthier.serving.guards.topics import topics


class _Both(Config):
    """What follows on each side."""

    input: Action = Action.ALLOW
    output: Action = Action.ALLOW


class _Whole(_Both):
    """A guard of whole texts: it has nothing to redact."""

    @field_validator("input", "output")
    @classmethod
    def _no_redaction(cls, action: Action) -> Action:
        if action is Action.REDACT:
            raise ValueError("this guard judges a text as a whole: expected allow, flag or refuse")
        return action


class Length(_Whole):
    """In characters, of all turns together; a token is about four."""

    input: Action = Action.REFUSE
    output: Action = Action.FLAG
    max_input_characters: int = Field(default=200_000, ge=1)
    max_output_characters: int = Field(default=100_000, ge=1)
    max_turns: int = Field(default=500, ge=1)


class Private(_Both):
    """Personal data: e-mail addresses, phone, card and account numbers. kinds: some of them."""

    output: Action = Action.FLAG
    kinds: tuple[str, ...] = PERSONAL

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [kind for kind in kinds if kind not in PERSONAL]:
            raise ValueError(f"expected some of {', '.join(PERSONAL)}; got {', '.join(unknown)}")
        return kinds


class Secrets(_Both):
    """Keys, tokens, passwords."""

    input: Action = Action.FLAG
    output: Action = Action.FLAG


class Injection(_Whole):
    """Marks of prompt injection."""

    input: Action = Action.FLAG
    output: Action = Action.FLAG


class Topics(_Whole):
    """A router's folder, and which of its topics are excluded: all where none is named; `base`: what is no topic."""

    input: Action = Action.REFUSE
    router: str
    refused: tuple[str, ...] = ()
    at_least: float = Field(default=0.7, gt=0, le=1)


class Schema(_Whole):
    """A file with the JSON schema that every answer has to be of."""

    output: Action = Action.REFUSE
    file: str

    @field_validator("input")
    @classmethod
    def _answers_alone(cls, action: Action) -> Action:
        return _not_of_requests(action)


class Groundedness(_Whole):
    """The share of an answer's words that its context has to hold."""

    output: Action = Action.FLAG
    at_least: float = Field(default=0.5, gt=0, le=1)

    @field_validator("input")
    @classmethod
    def _answers_alone(cls, action: Action) -> Action:
        return _not_of_requests(action)


def _not_of_requests(action: Action) -> Action:
    if action is not Action.ALLOW:
        raise ValueError("this guard looks at answers alone: expected allow")
    return action


class GuardPolicy(Config):
    """All guards. By default nothing is refused but what is far too long, and no answer is held back."""

    refusal: str = Field(default=REFUSAL, min_length=1)
    length: Length = Length()
    private: Private = Private()
    secrets: Secrets = Secrets()
    injection: Injection = Injection()
    topics: Topics | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    groundedness: Groundedness = Groundedness()


def load_guard_policy(path: Path | None) -> GuardPolicy:
    """The policy of a file, or the default one. Raises ConfigError, naming the nearest key where one is unknown."""
    if path is None:
        return GuardPolicy()
    values, _ = merge_layers(read_layers(path))
    return build(GuardPolicy, values, where=str(path))


def load_guards(path: Path | None) -> GuardSet:
    """The guards of a policy's file, or the default ones. Raises ConfigError, and ServingError for a broken router."""
    return make_guards(load_guard_policy(path), path.parent if path is not None else Path())


def make_guards(policy: GuardPolicy, folder: Path = Path()) -> GuardSet:
    """The guards of a policy whose paths count from `folder`."""
    return GuardSet(tuple(_guards(policy, folder)), policy.refusal)


def _guards(policy: GuardPolicy, folder: Path) -> Iterator[Guard]:
    sizes = policy.length
    look = length(sizes.max_input_characters, sizes.max_output_characters, sizes.max_turns)
    yield Guard("length", look, sizes.input, sizes.output)
    yield Guard("secrets", private(SECRET), policy.secrets.input, policy.secrets.output)
    yield Guard("private", private(policy.private.kinds), policy.private.input, policy.private.output)
    yield Guard("injection", injection(), policy.injection.input, policy.injection.output)
    if (chosen := policy.topics) is not None:
        from luthier.serving.router import load_router

        router = load_router(folder / chosen.router)
        look = topics(router, chosen.refused or router.specialists, chosen.at_least)
        yield Guard("topics", look, chosen.input, chosen.output)
    if policy.schema_ is not None:
        look = schema(_read_schema(folder / policy.schema_.file))
        yield Guard("schema", look, Action.ALLOW, policy.schema_.output)
    grounded = policy.groundedness
    yield Guard("groundedness", groundedness(grounded.at_least), Action.ALLOW, grounded.output)


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"schema.file: {path}: expected a JSON schema: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"schema.file: {path}: expected a JSON object, got {type(value).__name__}")
    return value


def policy_yaml(policy: GuardPolicy) -> str:
    """The whole policy as a file to copy."""
    return yaml.safe_dump(policy.model_dump(mode="json", by_alias=True), sort_keys=False)
