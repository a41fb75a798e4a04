"""JSON masks: whatever is drawn parses and validates; what cannot be followed is refused."""

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from luthier.errors import ServingError
from luthier.serving.masks import json_mask
from tests.toy import byte_tokenizer, metaspace_tokenizer

BYTES, METASPACE = byte_tokenizer(), metaspace_tokenizer()
UNIT = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "unit": {"enum": ["m", "km", "°C"]},
        "parts": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["value", "unit"],
    "additionalProperties": False,
}
SCHEMAS: list[dict[str, Any]] = [
    UNIT,
    {"type": "array", "items": {"anyOf": [{"type": "null"}, {"const": "a b"}]}, "minItems": 1, "maxItems": 4},
    {"type": "string", "pattern": "^[a-f]{2,5}$"},
    {"$defs": {"t": {"type": "object", "properties": {"of": {"$ref": "#/$defs/t"}}}}, "$ref": "#/$defs/t"},
]


def draw(mask: Any, tokenizer: Any, seed: int, most: int = 400) -> str:
    """Any allowed token, each as likely as the others."""
    random, ids = np.random.default_rng(seed), []
    for _ in range(most):
        allowed = np.nonzero(mask.allowed())[0]
        token = int(random.choice(allowed))
        mask.accept(token)
        if token == tokenizer.eos_token_id:
            return str(tokenizer.decode(ids))
        ids.append(token)
    reject()  # no end within so many tokens


@pytest.mark.parametrize("tokenizer", [BYTES, METASPACE], ids=["bytes", "metaspace"])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), schema=st.sampled_from(SCHEMAS[:3]))
def test_what_is_drawn_is_json_of_the_schema(tokenizer: Any, seed: int, schema: dict[str, Any]) -> None:
    text = draw(json_mask(schema, tokenizer), tokenizer, seed)
    jsonschema.validate(json.loads(text), schema)
    assert "\n" not in text


def test_only_the_end_follows_what_is_complete() -> None:
    mask = json_mask({"const": 1}, BYTES)
    (one,) = BYTES("1")["input_ids"]
    assert np.nonzero(mask.allowed())[0].tolist() == [one]
    mask.accept(one)
    assert np.nonzero(mask.allowed())[0].tolist() == [BYTES.eos_token_id]
    mask.accept(BYTES.eos_token_id)
    assert np.nonzero(mask.allowed())[0].tolist() == [BYTES.eos_token_id]


def test_other_stop_ids_and_any_object() -> None:
    mask = json_mask({}, BYTES, stop_ids=[1, 2])
    for token in BYTES('{"a": [1, null]}')["input_ids"]:
        assert not mask.allowed()[[1, 2]].any()
        assert mask.allowed()[token]
        mask.accept(token)
    assert mask.allowed()[[1, 2]].all()
    with pytest.raises(ServingError, match="not what the schema allows"):
        json_mask({}, BYTES).accept(BYTES("[")["input_ids"][0])


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"properties": {"a": {"not": {"type": "string"}}}}, "not"),
        ({"$ref": "#/nowhere"}, "/nowhere"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
        ({"type": "string", "pattern": "(?<=a)b"}, r"\(\?<=a\)b"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused(schema: dict[str, Any], part: str) -> None:
    with pytest.raises(ServingError, match=f"json_schema.*{part}"):
        json_mask(schema, BYTES)


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(ServingError, match="fast tokenizer"):
        json_mask({}, object(), stop_ids=[0])
