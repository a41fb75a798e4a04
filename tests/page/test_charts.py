"""Charts: round ticks, spikes kept, values told on hover and to a screen reader."""

import math

import pytest

from luthier.page.charts import Chart, Line, draw, format_tick, round_ticks, thin
from tests.page.browser import parse


def test_ticks_are_round_and_cover_the_range() -> None:
    assert round_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert round_ticks(0.31, 3.7) == pytest.approx([0, 1, 2, 3, 4])
    assert round_ticks(5, 5)[0] <= 5 <= round_ticks(5, 5)[-1]
    assert [format_tick(v) for v in (0, 2e-4, 1.5e-5, 0.30000000000000004, 12000)] == (
        ["0", "2e-4", "1.5e-5", "0.3", "12,000"]
    )


def test_thinning_keeps_spikes_and_order() -> None:
    points = [(float(x), 50.0 if x == 7777 else math.sin(x)) for x in range(20000)]
    kept = thin(points)
    assert len(kept) <= 602 and (7777.0, 50.0) in kept and kept == sorted(kept)


def test_a_chart_tells_its_values_on_hover_and_to_a_reader() -> None:
    drawn = draw(Chart("Loss <1>", [Line("a & b", [(1.0, 2.0), (2.0, 1.0)], 1, marked=True)]))
    parse(drawn)
    assert "<title>step 2 · a &amp; b 1</title>" in drawn
    assert 'aria-label="Loss &lt;1&gt;. a &amp; b: 2 at step 1, 1 at step 2."' in drawn
