"""Layers, overrides, `extends`, and what is said of a wrong key."""

from pathlib import Path
from typing import Literal

import pytest

from luthier.config import Config, Layer, build, merge_layers, parse_overrides, read_layers, read_yaml
from luthier.errors import ConfigError


class Inner(Config):
    learning_rate: float


class Other(Config):
    name: Literal["other"]
    depth: int


class Third(Config):
    name: Literal["third"]
    width: int


class Outer(Config):
    optim: Inner | None = None
    method: Other | Third | None = None
    steps: int = 1


def test_later_layers_win_and_every_leaf_knows_its_source() -> None:
    values, sources = merge_layers(
        [Layer("a", {"x": {"y": 1, "z": 2}, "k": 1}), Layer("b", {"x": {"y": 3}}), Layer("c", {"k": [1]})]
    )
    assert values == {"x": {"y": 3, "z": 2}, "k": [1]}
    assert sources == {"x.y": "b", "x.z": "a", "k": "c"}


def test_a_mapping_and_a_value_replace_each_other() -> None:
    assert merge_layers([Layer("a", {"x": 1}), Layer("b", {"x": {"y": 2}})]) == (
        {"x": {"y": 2}},
        {"x.y": "b"},
    )
    assert merge_layers([Layer("a", {"x": {"y": 2}}), Layer("b", {"x": 1})]) == ({"x": 1}, {"x": "b"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E+3", -2000.0),
        ("1.5", 1.5),
        ("3", 3),
        ("null", None),
        ("[a, 1]", ["a", 1]),
        ("true", True),
        ("", ""),
        ("a=b", "a=b"),
        ("1e", "1e"),
        ("run-1e4", "run-1e4"),
    ],
)
def test_overrides_are_yaml(text: str, value: object) -> None:
    got = parse_overrides([f"a.b={text}"])["a"]["b"]
    assert (got, type(got)) == (value, type(value))


def test_overrides_add_up() -> None:
    assert parse_overrides(["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", ".a=1", "a=[1"])
def test_a_broken_override_is_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides([text])
    assert repr(text) in str(caught.value)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"r\.yaml:\n.*'optim\.learning_rat'; did you mean 'learning_rate'"):
        build(Outer, {"optim": {"learning_rat": 1, "learning_rate": 1}}, where="r.yaml")
    with pytest.raises(ConfigError, match=r"unknown key 'zzz'; known: method, optim, steps"):
        build(Outer, {"zzz": 1}, where="r.yaml")
    with pytest.raises(ConfigError, match=r"optim\.learning_rate: a value is needed"):
        build(Outer, {"optim": {}}, where="r.yaml")
    with pytest.raises(ConfigError, match=r"steps: .*got 'many'"):
        build(Outer, {"steps": "many"}, where="r.yaml")


def test_extends_is_laid_below(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: {learning_rate: 1e-4}\nsteps: 2\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nsteps: 3\n")
    values, sources = merge_layers(read_layers(tmp_path / "mine.yaml"))
    assert values == {"optim": {"learning_rate": 1e-4}, "steps": 3}
    assert sources["steps"].endswith("mine.yaml") and sources["optim.learning_rate"].endswith("base.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n", "expected `key: value` pairs"),
        ("extends: a.yaml\n", "goes in a circle"),
        ("extends: gone.yaml\n", "no such recipe"),
        ("a: 1\nb: 2\na: 3\n", "'a' is given twice"),
    ],
)
def test_a_broken_recipe_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_layers(tmp_path / "a.yaml")
    assert said in str(caught.value) and ".yaml" in str(caught.value)


def test_no_such_file_a_folder_and_not_text(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for path, said in [(tmp_path / "gone.yaml", "no such recipe"), (tmp_path, "expected a YAML text file")]:
        with pytest.raises(ConfigError, match=said):
            read_yaml(path)
    with pytest.raises(ConfigError, match=r"b\.yaml"):
        read_yaml(tmp_path / "b.yaml")
