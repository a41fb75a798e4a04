"""Bootstrap intervals: twins in scipy and in plain resampling, coverage, symmetry, whole sources."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import f1_score

from luthier.errors import EvaluationError
from luthier.evaluation import stats
from luthier.evaluation.stats import bootstrap as bootstrap_module


def test_bootstrap_equals_its_twin() -> None:
    generator = np.random.default_rng(7)
    first = (generator.random(120) < 0.4).astype(float)
    second = (generator.random(120) < 0.6).astype(float)
    ours = stats.bootstrap_difference(first.tolist(), second.tolist(), num_resamples=50_000)
    twin = bootstrap(
        (second - first,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == (pytest.approx(twin.low, abs=0.01), pytest.approx(twin.high, abs=0.01))


def test_bootstrap_of_graded_scores_equals_resampling_by_index() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.random(80), generator.random(80)
    ours = stats.bootstrap_difference(first.tolist(), second.tolist(), num_resamples=40_000)
    drawn = (second - first)[generator.integers(0, 80, (40_000, 80))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.005), pytest.approx(high, abs=0.005))


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=40)
@given(pairs)
@example([(False, True), (True, False), (True, True)])  # its own mirror image
@example([(False, True), (True, False)] * 14 + [(True, True)] * 5)
def test_bootstrap_is_repeatable_bounded_and_symmetric(answers: list[tuple[bool, bool]]) -> None:
    first, second = [float(a) for a, _ in answers], [float(b) for _, b in answers]
    there = stats.bootstrap_difference(first, second, num_resamples=2000)
    back = stats.bootstrap_difference(second, first, num_resamples=2000)
    assert there == stats.bootstrap_difference(first, second, num_resamples=2000)
    assert -1 <= there.low <= there.high <= 1
    assert (there.low, there.high) == (-back.high, -back.low)


def test_bootstrap_in_pieces_keeps_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap_module, "_MAX_CELLS", 100)
    interval = stats.bootstrap_difference([0.0, 1.0, 0.5] * 10, [1.0, 1.0, 0.25] * 10, num_resamples=999)
    assert interval.low < (1 + 0 - 0.25) / 3 < interval.high


def test_scores_that_are_their_own_mirror_image_have_an_interval_that_is() -> None:
    interval = stats.bootstrap_difference([0.0, 1.0, 0.25, 0.75] * 5, [1.0, 0.0, 0.75, 0.25] * 5)
    assert interval.low == -interval.high < 0


def clustered(seed: int) -> tuple[list[float], list[float], list[int]]:
    """30 sources of unlike size whose items agree with each other."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 12, 30)
    sources = np.repeat(np.arange(30), sizes)
    gaps = np.repeat(generator.normal(0.02, 0.2, 30), sizes) + generator.normal(0, 0.02, len(sources))
    first = generator.uniform(0.4, 0.6, len(sources))
    return first.tolist(), (first + gaps).tolist(), sources.tolist()


def test_whole_sources_are_drawn_as_in_plain_resampling() -> None:
    first, second, sources = clustered(5)
    ours = stats.bootstrap_difference(first, second, clusters=sources, num_resamples=20_000)
    gaps, names = np.asarray(second) - np.asarray(first), np.asarray(sources)
    groups = [gaps[names == name] for name in range(30)]
    generator = np.random.default_rng(1)
    drawn = [
        np.concatenate([groups[index] for index in generator.integers(0, 30, 30)]).mean() for _ in range(5000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))
    items = stats.bootstrap_difference(first, second)
    assert ours.high - ours.low > 1.7 * (items.high - items.low)
    alone = stats.bootstrap_difference(first, second, clusters=list(range(len(first))))
    assert alone == items


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    hits = 0
    for _ in range(300):
        interval = stats.bootstrap_mean(generator.beta(2, 5, 60).tolist(), num_resamples=1000)
        hits += interval.low <= 2 / 7 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_scores_that_are_all_alike_still_have_an_interval() -> None:
    assert stats.bootstrap_mean([0.0] * 20) == stats.clopper_pearson_interval(0, 20)
    assert stats.bootstrap_mean([1.0] * 20) == stats.clopper_pearson_interval(20, 20)
    sources = ["a"] * 10 + ["b"] * 10
    assert stats.bootstrap_mean([1.0] * 20, clusters=sources) == stats.clopper_pearson_interval(2, 2)


def test_a_figure_of_the_whole_set_is_drawn_again_with_its_items() -> None:
    generator = np.random.default_rng(2)
    gold = generator.integers(0, 3, 150)
    said = np.where(generator.random(150) < 0.7, gold, generator.integers(0, 3, 150))

    def macro_f1(drawn: np.ndarray) -> float:
        return float(f1_score(gold[drawn], said[drawn], average="macro"))

    interval = stats.bootstrap_metric(macro_f1, 150, num_resamples=300)
    assert interval.low < macro_f1(np.arange(150)) < interval.high
    assert interval == stats.bootstrap_metric(macro_f1, 150, num_resamples=300)
    mean = stats.bootstrap_metric(
        lambda drawn: float((gold[drawn] == said[drawn]).mean()), 150, num_resamples=4000
    )
    twin = stats.bootstrap_mean((gold == said).astype(float).tolist())
    assert (mean.low, mean.high) == (pytest.approx(twin.low, abs=0.01), pytest.approx(twin.high, abs=0.01))
    grouped = stats.bootstrap_metric(macro_f1, 150, clusters=[i // 50 for i in range(150)], num_resamples=50)
    assert grouped.low <= macro_f1(np.arange(150)) <= grouped.high


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.bootstrap_difference([], []),
        lambda: stats.bootstrap_difference([1.0], [1.0, 0.0]),
        lambda: stats.bootstrap_difference([1.0, 0.0], [1.0, 0.0], clusters=["a"]),
        lambda: stats.bootstrap_difference([float("nan")], [1.0]),
        lambda: stats.bootstrap_mean([]),
        lambda: stats.bootstrap_mean([2.0]),
        lambda: stats.bootstrap_mean([0.5], confidence=1.0),
        lambda: stats.bootstrap_metric(len, 0),
        lambda: stats.bootstrap_metric(len, 2, clusters=["a"]),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match=r"expected"):
        call()
