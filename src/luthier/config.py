"""The common machinery of every recipe: YAML files, dotted overrides and typed frozen values.

A configuration is a stack of layers, lowest first: defaults, defaults of the chosen method, the recipe
file, the command line. `merge_layers` lays them over each other and remembers, for each leaf, which layer
it came from, so that a run can print every value once with its origin. `build` turns the merged values into
a pydantic model; an unknown key is an error that names the nearest known one.
This file knows nothing of what is configured.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from luthier.errors import ConfigError


class Config(BaseModel):
    """Base of every typed configuration value: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Layer:
    """Some configuration values and the words that tell a reader where they came from."""

    source: str
    values: Mapping[str, Any]


C = TypeVar("C", bound=Config)


class _Yaml(yaml.SafeLoader):
    """YAML as people mean it: `1e-4` is a number (YAML 1.1 wants `1.0e-4`), a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.value != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Yaml)  # a SafeLoader: it makes plain values only


def read_layers(path: Path) -> list[Layer]:
    """A recipe file as layers: the file that it `extends` (a path beside it) first, itself last.

    Raises ConfigError: no such file, not YAML (line and column), not a mapping, a circle of `extends`.
    """
    return _read_layers(path, seen=())


def _read_layers(path: Path, seen: tuple[Path, ...]) -> list[Layer]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: `extends` goes in a circle: {' -> '.join(str(p) for p in seen)}")
    values = read_yaml(path)
    parent = values.pop("extends", None)
    below = _read_layers(path.parent / str(parent), (*seen, path.resolve())) if parent is not None else []
    return [*below, Layer(str(path), values)]


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML file of `key: value` pairs. Raises ConfigError as `read_layers` does."""
    try:
        values = _load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such recipe: {path}") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a YAML text file: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected `key: value` pairs at the top, got {type(values).__name__}")
    return values


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`["optim.learning_rate=1e-4"]` -> `{"optim": {"learning_rate": 1e-4}}`; values are read as YAML."""
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key or any(not part for part in key.split(".")):
            raise ConfigError(f"expected an override like optim.learning_rate=1e-4, got {override!r}")
        try:
            value = _load(text) if text else ""
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not valid YAML: {error}") from error
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = merge_layers([Layer("", values), Layer("", nested)])[0]
    return values


def merge_layers(layers: Sequence[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Lay the layers over each other, later ones on top; mappings merge, everything else is replaced.

    Returns the merged values and, for each dotted leaf, the source of the layer that set it.
    """
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def lay(target: dict[str, Any], values: Mapping[str, Any], prefix: str, source: str) -> None:
        for key, value in values.items():
            dotted = f"{prefix}{key}"
            if isinstance(value, Mapping):
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                    sources.pop(dotted, None)
                lay(target[key], value, f"{dotted}.", source)
            else:
                target[key] = value
                for stale in [s for s in sources if s.startswith(f"{dotted}.")]:
                    del sources[stale]
                sources[dotted] = source

    for layer in layers:
        lay(merged, layer.values, "", layer.source)
    return merged, sources


def build(kind: type[C], values: Mapping[str, Any], *, where: str) -> C:
    """Validate `values` as `kind`. Raises ConfigError that lists every problem, with the nearest known key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_describe(kind, problem) for problem in error.errors()]
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {problem}" for problem in problems)) from error


def _describe(kind: type[BaseModel], problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    dotted = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(kind, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"unknown key {dotted!r}; {hint}"
    if problem["type"] == "missing":
        return f"{dotted}: a value is needed"
    return f"{dotted}: {problem['msg']}, got {problem['input']!r}"


def _known_keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The field names at `path` below `kind`; in a union, those of the member that `path` names by its tag."""
    candidates: list[type[BaseModel]] = [kind]
    for part in path:
        deeper = [
            model
            for candidate in candidates
            if part in candidate.model_fields
            for model in _models_in(candidate.model_fields[part].annotation)
        ]
        # pydantic puts the tag of a discriminated union into the location; it is no field.
        candidates = deeper or [c for c in candidates if part in _tags(c)] or candidates
    return sorted({name for candidate in candidates for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in _models_in(argument)]


def _tags(kind: type[BaseModel]) -> tuple[str, ...]:
    field = kind.model_fields.get("name")
    return tuple(getattr(field.annotation, "__args__", ())) if field else ()
