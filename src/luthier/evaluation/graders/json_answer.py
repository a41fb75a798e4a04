"""json: the answer is JSON, keeps to its schema, and has the right values field by field.

The gold answer is any JSON value. An item's score is the share of fields that are right among all fields of gold and
answer together, so that invented fields cost too; an answer that breaks the schema scores 0.
This file knows nothing of models and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import (
    MALFORMED,
    NONSENSE,
    Figure,
    Graded,
    Grader,
    accuracy_figures,
    mean_figure,
)
from luthier.evaluation.graders.json_text import is_bare, read_json, spell_json
from luthier.evaluation.graders.verdict import Verdict, failed, scored
from luthier.evaluation.item import EvalItem

_ABSENT = object()


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value without parts, with its path; an empty object or list is one."""
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    if not parts:
        yield path, value
    for key, part in parts:
        yield from leaves(part, (*path, key))


def _is_same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but not true; texts but for the spaces around them."""
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def field_accuracy(gold: Any, found: Any) -> float:
    """The share of fields that are right among all fields of both, from 0 to 1."""
    wanted, given = dict(leaves(gold)), dict(leaves(found))
    paths = wanted.keys() | given.keys()
    right = sum(_is_same(wanted.get(path, _ABSENT), given.get(path, _ABSENT)) for path in paths)
    return right / len(paths)


def json_answer(schema: dict[str, Any] | bool | None = None) -> Grader:
    """A grader of JSON, by a JSON Schema where one is given. Raises EvaluationError where it is no schema."""
    validator = _validator(schema) if schema is not None else None

    def gold(item: EvalItem) -> Any:
        try:
            return read_json(item.answer or "")
        except ValueError as error:
            raise EvaluationError(f"field 'answer': is not JSON: {error}") from error

    def grade(item: EvalItem, answer: str) -> Verdict:
        wanted = gold(item)
        try:
            found = read_json(answer)
        except ValueError as error:
            return failed(f"not JSON: {error}", valid=False, bare=False, schema=False, fields=0.0)
        broken = next(iter(validator.iter_errors(found)), None) if validator is not None else None
        share = field_accuracy(wanted, found)
        details = {"valid": True, "bare": is_bare(answer), "schema": broken is None, "fields": share}
        if broken is not None:
            where = "/".join(map(str, broken.absolute_path)) or "the whole"
            return failed(f"breaks the schema at {where}: {broken.message:.120}", **details)
        return scored(share, f"{share:.0%} of the fields are right", **details)

    def wrongs(item: EvalItem) -> tuple[str, ...]:
        wanted = gold(item)
        odd = [text for text in ("null", "{}", "[]") if field_accuracy(wanted, read_json(text)) == 0]
        return (
            *MALFORMED,
            *NONSENSE,
            *odd,
            spell_json(_changed(wanted)),
            f"Here it is: {spell_json(wanted)} ;",
        )

    def golds(item: EvalItem) -> tuple[str, ...]:
        return (spell_json(gold(item)), f"```json\n{spell_json(gold(item))}\n```")

    return Grader(
        "json",
        grade,
        golds,
        wrongs,
        json_answer=True,
        figures=lambda graded: _figures(graded, has_schema=validator is not None),
    )


def _validator(schema: dict[str, Any] | bool) -> Any:
    import jsonschema

    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise EvaluationError(
            f"schema: is not a JSON Schema, at {where}: {error.message:.160}; correct it"
        ) from error
    return kind(schema)


def _changed(value: Any) -> Any:
    """The same shape with every field wrong."""
    if isinstance(value, Mapping) and value:
        return {key: _changed(part) for key, part in value.items()}
    if isinstance(value, list) and value:
        return [_changed(part) for part in value]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{NONSENSE[0]} {value}"


def _figures(graded: Sequence[Graded], *, has_schema: bool) -> list[Figure]:
    details = [one.verdict.details for one in graded]
    names = {"valid": "valid", "bare": "bare", **({"schema": "schema_valid"} if has_schema else {})}
    figures = [*accuracy_figures(graded), *mean_figure("field_accuracy", [d["fields"] for d in details])]
    for key, name in names.items():
        figures += mean_figure(name, [float(d[key]) for d in details])
    return figures


JSON_ANSWER = json_answer()
