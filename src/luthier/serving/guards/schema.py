"""Is an answer JSON of the schema (draft 2020-12, or what its `$schema` says)? Nothing around it is forgiven."""

import json
from collections.abc import Iterator
from typing import Any

from luthier.errors import ConfigError
from luthier.serving.guards.guard import Hit, Look, Seen

_SHOWN = 3


def schema(schema: dict[str, Any]) -> Look:
    """Looks at answers. Raises ConfigError where the schema is none."""
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"schema: expected a JSON schema: {error.message} at {error.json_path}") from error
    validator = kind(schema)

    def look(seen: Seen) -> Iterator[Hit]:
        if seen.side == "input":
            return
        try:
            value = json.loads(seen.text)
        except (ValueError, RecursionError) as error:
            yield Hit(f"expected JSON, got something else: {error}")
            return
        for number, problem in enumerate(validator.iter_errors(value)):
            if number == _SHOWN:
                return
            yield Hit(f"{problem.json_path} is not what the schema asks for ({problem.validator})")

    return look
