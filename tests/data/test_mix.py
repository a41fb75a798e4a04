"""Mixes: exact amounts, stable order, what stands in the manifest, and every refusal."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.external_sort import ExternalSort
from luthier.data.mix import manifest_path, mix
from luthier.data.mix_recipe import MixRecipe, parse_part, read_mix_recipe
from luthier.data.quotas import beside, by_temperature, largest_remainder, normalised, until_exhausted
from luthier.errors import ConfigError, DataError
from luthier.hashing import hash_file


def chat(name: str, number: int, words: int = 3, **more: Any) -> dict[str, Any]:
    said = " ".join([f"{name}{number}"] * words)
    return {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": said}], **more}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def name_of(row: dict[str, Any]) -> str:
    return str(row["messages"][0]["content"].split()[0])


def run(tmp_path: Path, **recipe: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = tmp_path / "out.jsonl"
    manifest = mix(MixRecipe.model_validate(recipe), out, force=True)
    return read(out), manifest


@pytest.fixture
def two(tmp_path: Path) -> dict[str, str]:
    return {
        "a": write(tmp_path / "a.jsonl", [chat("a", i) for i in range(70)]),
        "b": write(tmp_path / "b.jsonl", [chat("b", i) for i in range(100)]),
    }


def letters(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(name_of(row)[0] for row in rows)


shares = st.lists(st.integers(1, 1000).map(Fraction), min_size=1, max_size=6)


@given(shares, st.integers(0, 10_000))
def test_largest_remainders_sum_to_the_total_and_stay_within_one(weights: list[Fraction], total: int) -> None:
    amounts = largest_remainder(weights, total)
    assert sum(amounts) == total
    exact = [share * total for share in normalised(weights)]
    assert all(abs(amount - share) < 1 for amount, share in zip(amounts, exact, strict=True))


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 500)), min_size=1, max_size=6))
def test_exhaustion_uses_one_source_up_and_keeps_the_ratio(pairs: list[tuple[int, int]]) -> None:
    weights, sizes = normalised([Fraction(w) for w, _ in pairs]), [size for _, size in pairs]
    first = until_exhausted(weights, sizes, "first_exhausted")
    every = until_exhausted(weights, sizes, "all_exhausted")
    assert all(amount <= size for amount, size in zip(first, sizes, strict=True))
    assert all(amount >= size for amount, size in zip(every, sizes, strict=True))
    lasts = [size / share for size, share in zip(sizes, weights, strict=True)]
    for amounts, total in ((first, min(lasts)), (every, max(lasts))):
        assert any(amount == size for amount, size in zip(amounts, sizes, strict=True))
        assert all(abs(amount - share * total) <= 0.5 for amount, share in zip(amounts, weights, strict=True))


def test_temperature_is_the_published_formula() -> None:
    sizes = [1_000_000, 10_000, 100]
    for temperature in (1.0, 2.0, 5.0):
        powers = np.array(sizes, float) ** (1 / temperature)
        assert [float(share) for share in by_temperature(sizes, temperature)] == pytest.approx(
            powers / powers.sum()
        )
    assert [float(s) for s in by_temperature(sizes, 1e9)] == pytest.approx([1 / 3] * 3)


def test_beside_makes_a_share_of_the_whole() -> None:
    assert beside(900, [Fraction(1, 10)]) == [100]
    assert beside(80, [Fraction(1, 10), Fraction(1, 10)]) == [10, 10]
    with pytest.raises(DataError, match=r"sum to 1\.2"):
        beside(80, [Fraction(6, 10), Fraction(6, 10)])


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.5, -2.0, 3.0]), st.binary(max_size=40)), max_size=60),
    st.integers(1, 2000),
)
def test_a_sort_on_disk_is_a_sort(records: list[tuple[float, bytes]], max_bytes: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        sort = ExternalSort(Path(folder), max_bytes=max_bytes, max_runs=3)
        for tie, (key, data) in enumerate(records):
            sort.add(key, tie, data)
        expected = [
            data for _, _, data in sorted((key, tie, data) for tie, (key, data) in enumerate(records))
        ]
        assert list(sort) == expected


def test_shares_are_exact_and_no_row_comes_twice(tmp_path: Path, two: dict[str, str]) -> None:
    sources = [{"path": two["a"], "share": 0.7}, {"path": two["b"], "share": 0.3}]
    rows, manifest = run(tmp_path, sources=sources)
    assert letters(rows) == {"a": 70, "b": 30}
    assert len({name_of(row) for row in rows}) == 100
    assert [name_of(row)[0] for row in rows] != ["a"] * 70 + ["b"] * 30, "shuffled"
    assert [one["share_got"] for one in manifest["sources"]] == [0.7, 0.3]
    again, _ = run(tmp_path, sources=sources)
    other, _ = run(tmp_path, sources=sources, seed=1)
    assert again == rows and other != rows
    assert {name_of(row) for row in other} != {name_of(row) for row in rows}, "another seed takes other rows"


def test_all_exhausted_takes_every_row_and_begins_again(tmp_path: Path, two: dict[str, str]) -> None:
    sources = [{"path": two["a"], "share": 0.7}, {"path": two["b"], "share": 0.3}]
    rows, manifest = run(tmp_path, sources=sources, stop="all_exhausted")
    times = Counter(map(name_of, rows))
    assert letters(rows) == {"a": 233, "b": 100}
    assert {count for name, count in times.items() if name[0] == "b"} == {1}
    assert Counter(count for name, count in times.items() if name[0] == "a") == {3: 47, 4: 23}
    assert manifest["sources"][0]["copies"] == 4 and manifest["sources"][0]["rows_distinct"] == 70


def test_a_total_is_met_exactly_or_refused(tmp_path: Path, two: dict[str, str]) -> None:
    sources = [{"path": two["a"], "share": 2}, {"path": two["b"], "share": 1}]
    rows, _ = run(tmp_path, sources=sources, total=50)
    assert letters(rows) == {"a": 33, "b": 17}
    with pytest.raises(DataError, match="its share comes to 100 rows, but it has 70"):
        run(tmp_path, sources=sources, total=150)
    rows, _ = run(tmp_path, sources=sources, total=150, stop="all_exhausted")
    assert letters(rows) == {"a": 100, "b": 50}


def test_without_shares_everything_is_taken_once(tmp_path: Path, two: dict[str, str]) -> None:
    rows, _ = run(tmp_path, sources=[{"path": two["a"]}, {"path": two["b"]}], order="as_given")
    assert [name_of(row) for row in rows] == [f"a{i}" for i in range(70)] + [f"b{i}" for i in range(100)]


def test_temperature_evens_sizes_out(tmp_path: Path) -> None:
    large = write(tmp_path / "l.jsonl", [chat("l", i) for i in range(900)])
    small = write(tmp_path / "s.jsonl", [chat("s", i) for i in range(9)])
    sources = [{"path": large}, {"path": small}]
    rows, _ = run(tmp_path, sources=sources, temperature=2, stop="all_exhausted")
    assert letters(rows) == {"l": 900, "s": 90}, "900^0.5 : 9^0.5 is 10 : 1"
    rows, _ = run(tmp_path, sources=sources, temperature=1)
    assert letters(rows) == {"l": 900, "s": 9}


def test_replay_is_a_share_of_the_outcome(tmp_path: Path, two: dict[str, str]) -> None:
    sources, replay = [{"path": two["a"]}], [{"path": two["b"], "share": 0.3}]
    rows, _ = run(tmp_path, sources=sources, replay=replay)
    assert letters(rows) == {"a": 70, "b": 30}
    rows, _ = run(tmp_path, sources=sources, replay=replay, total=50)
    assert letters(rows) == {"a": 35, "b": 15}
    with pytest.raises(DataError, match="the replay comes to 280 rows, but it has 100"):
        run(tmp_path, sources=sources, replay=[{"path": two["b"], "share": 0.8}])


def test_upsampled_rows_come_so_often(tmp_path: Path, two: dict[str, str]) -> None:
    failures = write(tmp_path / "f.jsonl", [chat("f", i) for i in range(5)])
    rows, manifest = run(tmp_path, sources=[{"path": two["a"]}], upsample=[{"path": failures, "times": 3}])
    assert Counter(name_of(row) for row in rows if name_of(row)[0] == "f") == {f"f{i}": 3 for i in range(5)}
    assert len(rows) == 85
    assert manifest["sources"][1]["role"] == "upsample" and manifest["sources"][1]["rows_taken"] == 15
    rows, _ = run(
        tmp_path, sources=[{"path": two["a"]}], upsample=[{"path": failures, "times": 3}], total=40,
        replay=[{"path": two["b"], "share": 0.25}],
    )  # fmt: skip
    assert letters(rows) == {"a": 15, "f": 15, "b": 10}
    with pytest.raises(DataError, match="repeated rows alone come to 15 rows"):
        run(tmp_path, sources=[{"path": two["a"]}], upsample=[{"path": failures, "times": 3}], total=15)


def test_shares_in_characters_come_within_a_row(tmp_path: Path) -> None:
    long = write(tmp_path / "l.jsonl", [chat("l", i, words=5 + i % 90) for i in range(200)])
    short = write(tmp_path / "s.jsonl", [chat("s", i, words=1) for i in range(3000)])
    rows, manifest = run(
        tmp_path,
        sources=[{"path": long, "share": 0.5}, {"path": short, "share": 0.5}],
        by="characters",
        total=20_000,
    )
    sizes = Counter[str]()
    for row in rows:
        sizes[name_of(row)[0]] += sum(len(turn["content"]) for turn in row["messages"])
    assert abs(sizes["l"] - 10_000) < 400 and abs(sizes["s"] - 10_000) < 12
    assert [one["amount_taken"] for one in manifest["sources"]] == [sizes["l"], sizes["s"]]
    assert letters(rows)["s"] > 5 * letters(rows)["l"]


def test_shares_in_tokens_use_what_counts_them(tmp_path: Path, two: dict[str, str]) -> None:
    recipe = MixRecipe.model_validate(
        {"sources": [{"path": two["a"], "share": 0.5}, {"path": two["b"], "share": 0.5}], "by": "tokens"}
    )
    manifest = mix(recipe, tmp_path / "out.jsonl", count_tokens=lambda example: len(example.messages) * 10)
    assert [one["amount_taken"] for one in manifest["sources"]] == [1400, 1400]
    with pytest.raises(DataError, match="name the model"):
        mix(recipe, tmp_path / "other.jsonl")


def test_a_field_gives_the_order(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [chat("a", i, meta={"difficulty": 9 - i}) for i in range(10)])
    b = write(tmp_path / "b.jsonl", [chat("b", i, meta={"difficulty": str(i / 2)}) for i in range(10)])
    rows, _ = run(tmp_path, sources=[{"path": a}, {"path": b}], order="meta.difficulty")
    found = [float(row["meta"]["difficulty"]) for row in rows]
    assert found == sorted(found) and len(found) == 20
    with pytest.raises(
        DataError, match=r"a\.jsonl:1: the field 'level' to order by is missing \(fields: messages"
    ):
        run(tmp_path, sources=[{"path": a}], order="level")
    c = write(tmp_path / "c.jsonl", [chat("c", 0, level=1), chat("c", 1, level="hard")])
    with pytest.raises(DataError, match=r"c\.jsonl:2: the field 'level' to order by holds 'hard'"):
        run(tmp_path, sources=[{"path": c}], order="level")


def test_formats_that_differ_become_messages_and_documents_stay(tmp_path: Path, two: dict[str, str]) -> None:
    pairs = write(tmp_path / "p.jsonl", [{"prompt": f"p{i}", "completion": "yes", "id": i} for i in range(4)])
    texts = write(tmp_path / "t.jsonl", [{"text": f"document {i}"} for i in range(4)])
    rows, manifest = run(tmp_path, sources=[{"path": pairs}, {"path": texts}])
    assert manifest["format"] is None and {"prompt", "completion", "id"} in [set(row) for row in rows]
    rows, manifest = run(tmp_path, sources=[{"path": pairs}, {"path": two["a"]}, {"path": texts}])
    assert manifest["format"] == "messages"
    assert Counter("text" if "text" in row else "messages" for row in rows) == {"messages": 74, "text": 4}
    assert sorted(row["id"] for row in rows if "id" in row) == [0, 1, 2, 3], "other fields are kept"
    with pytest.raises(DataError, match="format 'mesages' does not exist"):
        run(tmp_path, sources=[{"path": pairs}], to="mesages")


def test_the_manifest_says_what_came_from_where(tmp_path: Path, two: dict[str, str]) -> None:
    copy = write(tmp_path / "copy.jsonl", [chat("a", i) for i in range(5)])
    _, manifest = run(tmp_path, sources=[{"path": two["a"]}, {"path": copy}])
    out = tmp_path / "out.jsonl"
    assert json.loads(manifest_path(out).read_text(encoding="utf-8")) == manifest
    assert "sha256:" + manifest["sha256"] == hash_file(out)
    assert "sha256:" + manifest["sources"][1]["files"][0]["sha256"] == hash_file(Path(copy))
    assert manifest["shared_rows"] == [{"sources": [two["a"], copy], "rows": 5}]
    assert not list(tmp_path.glob(".luthier-mix-*")), "nothing is left behind"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "nothing to mix"),
        ({"sources": [{"path": "a.jsonl", "share": 0.5}, {"path": "b.jsonl"}]}, r"b\.jsonl has no share"),
        ({"sources": [{"path": "a.jsonl", "share": 0.5}], "temperature": 2}, "leave one out"),
        ({"sources": [{"path": "a.jsonl"}, {"path": "./a.jsonl"}]}, "in the mix twice"),
        ({"sources": [{"path": "gone.jsonl"}]}, "gone.jsonl"),
        ({"sources": [{"path": "a.jsonl", "share": 1000}, {"path": "b.jsonl", "share": 1}]}, "less than half a row"),
        ({"upsample": [{"path": "a.jsonl", "times": 2}], "total": 500}, "a total needs sources"),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_refused(
    tmp_path: Path, two: dict[str, str], monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if recipe.get("sources", [{}])[0].get("share") == 1000:
        recipe = {**recipe, "total": 10}
    with pytest.raises(DataError, match=message):
        mix(MixRecipe.model_validate(recipe), tmp_path / "never.jsonl")
    assert not (tmp_path / "never.jsonl").exists()


def test_inputs_and_existing_files_are_safe(tmp_path: Path, two: dict[str, str]) -> None:
    recipe = MixRecipe.model_validate({"sources": [{"path": two["a"]}]})
    with pytest.raises(DataError, match="never written over"):
        mix(recipe, Path(two["a"]), force=True)
    (tmp_path / "there.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="--force"):
        mix(recipe, tmp_path / "there.jsonl")
    assert (tmp_path / "there.jsonl").read_text(encoding="utf-8") == "mine"


def test_a_recipe_file_is_read_and_unknown_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text("sources:\n  - {path: a.jsonl, share: 0.7}\ntotal: 10\n", encoding="utf-8")
    recipe = read_mix_recipe(path, {"total": 20})
    assert recipe.total == 20 and recipe.sources[0].share == 0.7
    path.write_text("sources: []\ntemprature: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        read_mix_recipe(path, {})
    path.write_text("sources:\n  - {path: a.jsonl, share: 0}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sources\.0\.share: .*greater than 0"):
        read_mix_recipe(path, {})


def test_parts_on_a_command_line(tmp_path: Path) -> None:
    assert parse_part("a=b/c.jsonl=0.5", "share") == {"path": "a=b/c.jsonl", "share": 0.5}
    assert parse_part("a.jsonl", "share", needed=False) == {"path": "a.jsonl"}
    named = write(tmp_path / "x=y.jsonl", [chat("a", 1)])
    assert parse_part(named, "share", needed=False) == {"path": named}
    for text, message in (("a.jsonl=many", "expected a number"), ("a.jsonl", "expected FILE=SHARE")):
        with pytest.raises(DataError, match=message):
            parse_part(text, "share")
    with pytest.raises(DataError, match="expected a whole number"):
        parse_part("a.jsonl=2.5", "times")
