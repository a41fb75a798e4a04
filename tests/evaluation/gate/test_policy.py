"""A policy is a small file: every key has a default, and a key that is unknown is an error."""

from pathlib import Path

import pytest

from luthier.errors import ConfigError
from luthier.evaluation.gate import Policy, load_policy, policy_yaml


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gate.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_printed_is_what_is_read(tmp_path: Path) -> None:
    assert load_policy(written(tmp_path, policy_yaml(Policy()))) == load_policy(None) == Policy()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("forgeting: {at_most: 0.2}", "unknown key 'forgeting'; did you mean 'forgetting'?"),
        ("over_refusal: {at_mots: 0.2}", "did you mean 'at_most'?"),
        ("golden: {margin: 0}", "golden.margin"),
        ("confidence: 95", "confidence"),
        ("judged: [{criterion: tone, require: nicer}]", "judged.0.require"),
        ("judged: [{criterion: tone}]", "judge and judged go together"),
        ("judge: {model: 'http://localhost:1/v1#j'}", "judge and judged go together"),
        (
            "judge: {model: j}\njudged: [{criterion: tone}, {criterion: tone, margin: 0.1}]",
            "expected one entry of each criterion",
        ),
        ("latency: {num_questions: 3}", "latency.num_questions"),
        ("- a list", "expected `key: value` pairs"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_policy(written(tmp_path, text))
    assert told in str(caught.value) and "gate.yaml" in str(caught.value)
