"""What a recipe means: layers, defaults per method, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from luthier.config import Layer, parse_overrides, read_layers
from luthier.errors import ConfigError
from luthier.training.method_config import FullMethod, LoraMethod
from luthier.training.recipe import Recipe, resolve

MINE: dict[str, Any] = {"model": "toy", "data": "rows.jsonl"}
RECIPES = sorted(
    path for path in (Path(__file__).parents[2] / "recipes").rglob("*.yaml") if "tokenizer" not in path.name
)


def mine(**values: Any) -> Recipe:
    return resolve([Layer("mine", MINE | values)]).recipe


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        ("full", 2e-5),
        ("top_layers", 2e-5),
        ("lora", 2e-4),
        ("dora", 2e-4),
        ("rslora", 2e-4),
        ("pissa", 2e-5),
        ("ia3", 3e-3),
        ("adapter", 1e-4),
        ("prompt", 3e-2),
        ("prefix", 1e-2),
    ],
)
def test_defaults_follow_the_method(method: str, rate: float) -> None:
    recipe = mine(method=method)
    assert (recipe.method.name, recipe.optim.learning_rate) == (method, rate)
    assert recipe.data.train == ["rows.jsonl"] and recipe.model.name == "toy"


def test_precedence_and_sources() -> None:
    resolved = resolve(
        [
            Layer("file", MINE | {"method": "dora", "optim": {"learning_rate": 1e-3, "beta1": 0.8}}),
            Layer("command line", parse_overrides(["optim.learning_rate=1e-4", "method.rank=8"])),
        ],
        implied=[Layer("model", {"optim": {"beta1": 0.5, "beta2": 0.6}, "method": {"name": "full"}})],
    )
    optim = resolved.recipe.optim
    assert (optim.learning_rate, optim.beta1, optim.beta2, optim.clip_norm) == (1e-4, 0.8, 0.6, 1.0)
    assert (resolved.recipe.method.name, resolved.recipe.method.rank) == ("dora", 8)  # type: ignore[union-attr]
    keys = ("optim.learning_rate", "optim.beta1", "optim.beta2", "optim.clip_norm", "method.alpha")
    assert [resolved.sources[key] for key in keys] == [
        "command line",
        "file",
        "model",
        "default",
        "default for dora",
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": {"name": "full", "rank": 8}}, "unknown key 'method.full.rank'"),
        ({"method": {"name": "lora", "ranc": 8}}, "did you mean 'rank'"),
        ({"optim": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
        ({"model": {"new": {"hidden_sise": 1}, "tokenizer": "t"}}, "did you mean 'hidden_size'"),
        ({"metod": "full"}, "did you mean 'method'"),
        ({"method": "lorra"}, "lorra"),
        ({"model": {"name": "a", "tokenizer": "b"}}, "brings its tokenizer"),
        ({"model": {}}, "give either a name or a new architecture"),
        (
            {"data": {"train": "a", "validation": "b", "validation_share": 0.1}},
            "give either a validation file",
        ),
        ({"data": {"train": []}}, "data.train"),
        ({"optim": {"learning_rate": -1}}, "optim.learning_rate"),
    ],
)
def test_what_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([Layer("mine", MINE | values)], where="mine.yaml")
    assert said in str(caught.value) and str(caught.value).startswith("mine.yaml")


def test_a_new_architecture_trains_whole() -> None:
    sizes = ("hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads", "context_length")
    new = {"new": dict.fromkeys(sizes, 8), "tokenizer": "t"}
    assert mine(model=new, method="full").model.new is not None
    with pytest.raises(ConfigError, match="set method=full"):
        mine(model=new, method="lora")


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        mine().objective = "cpt"  # type: ignore[misc]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_recipes_that_ship_parse(path: Path) -> None:
    assert resolve(read_layers(path), where=str(path)).recipe


def test_a_validation_file_takes_the_share_below_away() -> None:
    below = Layer("below", MINE | {"data": {"train": ["rows.jsonl"], "validation_share": 0.1}})
    data = resolve([below, Layer("above", {"data": {"validation": "v.jsonl"}})]).recipe.data
    assert (data.validation, data.validation_share) == ("v.jsonl", 0.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"optim": {"momentum": 0.9}}, "optim.momentum would do nothing: optim.name is not muon"),
        ({"optim": {"final_share": 0.1, "schedule": "constant"}}, "optim.final_share would do nothing"),
        ({"objective": "cpt", "data": {"train": "t", "too_long": "drop"}}, "data.too_long would do nothing"),
        (
            {"data": {"train": "t", "overlap": 8}},
            "data.overlap would do nothing: data.too_long is not sliding",
        ),
        ({"objective": "cpt", "data": {"train": "t", "format": "text"}}, "data.format would do nothing"),
        ({"evaluation": {"max_items": 5}}, "there are no evaluation.items"),
        ({"optim": {"name": "adafactor", "beta2": 0.9}}, "optim.beta2 would do nothing"),
        ({"optim": {"name": "lion", "epsilon": 1e-6}}, "optim.epsilon would do nothing: lion"),
        ({"method": "full", "optim": {"lora_plus_ratio": 4}}, "full has no B matrices"),
        ({"optim": {"power": 1}}, "the schedule is not polynomial"),
        ({"optim": {"num_cycles": 2}}, "the schedule is not cosine_restarts"),
        ({"optim": {"decay_share": 0.1}}, "the schedule is not wsd"),
        ({"method": "prefix", "train": {"gradient_checkpointing": True}}, "the prefix would be lost"),
        ({"method": "prompt", "train": {"packing": "forest"}}, "virtual tokens stand before every row"),
        ({"method": "freeze"}, "either in method.train or in method.freeze"),
        ({"method": {"name": "ia3", "targets": ["k_proj"]}}, "method.feedforward together"),
    ],
)
def test_a_value_that_would_do_nothing_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mine(**values)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"too_long": "truncate"}, "data.too_long.*truncate is called head now"),
        ({"too_long": "cut"}, "'error', 'drop', 'head', 'tail', 'middle' or 'sliding'"),
        ({"too_long": "sliding", "overlap": 1024}, "overlap of 1024 leaves nothing new"),
        ({"too_long": "sliding", "overlap": 1.5}, "data.overlap"),
        ({"format": "csv"}, "data.format.*expected one of .*messages"),
    ],
)
def test_what_the_data_section_refuses(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mine(data={"train": "t", **data})


def test_an_overlap_is_tokens_or_a_share_of_the_window() -> None:
    def overlap(value: float) -> int:
        data = {"train": "t", "too_long": "sliding", "max_length": 100, "overlap": value}
        return mine(data=data).data.overlap_tokens

    assert (overlap(0), overlap(7), overlap(0.25)) == (0, 7, 25)


def test_a_method_that_replaces_another_takes_its_settings_away() -> None:
    below = Layer("below", MINE | {"method": {"name": "lora", "rank": 4}})
    assert resolve([below, Layer("above", {"method": "full"})]).recipe.method == FullMethod(name="full")
    kept = resolve([below, Layer("above", {"method": {"alpha": 8}})]).recipe.method
    assert isinstance(kept, LoraMethod) and (kept.rank, kept.alpha) == (4, 8)


def test_lion_has_a_tenth_of_the_rate_unless_the_user_says_one() -> None:
    lion = mine(optim={"name": "lion"}).optim
    assert (lion.learning_rate, lion.beta2) == (pytest.approx(2e-5), 0.99)
    assert mine(optim={"name": "lion", "learning_rate": 1e-3}).optim.learning_rate == 1e-3
    implied = [Layer("model", {"optim": {"learning_rate": 1e-2}})]
    resolved = resolve([Layer("mine", MINE | {"optim": {"name": "lion"}})], implied=implied)
    assert resolved.recipe.optim.learning_rate == pytest.approx(1e-3)
    assert resolved.sources["optim.learning_rate"] == "default for lion"
