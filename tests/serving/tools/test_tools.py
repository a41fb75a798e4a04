"""Tool tags become results; numbers have twins; what fails is said in words; nothing runs that was not offered."""

import time
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import constants

from luthier.errors import ConfigError
from luthier.serving.tools import Limits, Tool, ToolFailed, expand_tool_tags, load_tools
from luthier.serving.tools.calculator import calculate
from luthier.serving.tools.dates import dates
from luthier.serving.tools.units import convert

SLOW = Tool("slow", "takes its time", "x", lambda text: time.sleep(0.05) or "late")
BROKEN = Tool("broken", "is not well", "x", lambda text: str(1 / len(text.strip("x"))))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("It is <calculator>(112 + 122) / 2</calculator> m.", "It is 117 m."),
        ("<calculator> 2+2 </calculator> and <convert>1 mi in km</convert>", "4 and 1.609344 km"),
        ("<date>2026-11-21 + 30 days</date>", "2026-12-21"),
        ("<calculator>1/0</calculator>", "[calculator: division by zero]"),
        ("<calculator>open('x')</calculator>", "[calculator: \"open('x')\" is no arithmetic that I can do]"),
        ("<calculator>1+1", "<calculator>1+1"),
        ("<shell>rm</shell>", "<shell>rm</shell>"),
        ("<calculator>1<calculator>2+3</calculator>", "<calculator>15"),
        ("3 < 4 </p>", "3 < 4 </p>"),
    ],
)
def test_tags_become_results(text: str, expanded: str) -> None:
    assert expand_tool_tags(text, load_tools()) == expanded


def test_limits_are_said() -> None:
    tools = (*load_tools(["calculator"]), SLOW, BROKEN)
    limits = Limits(max_tags=2, max_input_characters=9, max_output_characters=4, timeout_seconds=0.01)
    assert expand_tool_tags("<slow>x</slow>", tools, limits) == "[slow: no result within 0.01 seconds]"
    assert expand_tool_tags("<broken>x</broken>", tools, Limits()).startswith(
        "[broken: failed, ZeroDivisionError"
    )
    many = expand_tool_tags("<calculator>1+1</calculator>" * 3, tools, limits)
    assert many == "22[calculator: not run, at most 2 tools an answer]"
    assert "at most 9 characters" in expand_tool_tags(f"<calculator>{'1' * 10}</calculator>", tools, limits)
    assert expand_tool_tags("<calculator>99999*9</calculator>", tools, limits) == "8999…"
    assert expand_tool_tags("<calculator>1</calculator>", ()) == "<calculator>1</calculator>"


def test_a_flood_of_tags_costs_little() -> None:
    started = time.perf_counter()
    expand_tool_tags("<calculator>" * 20_000 + "</calculator", load_tools())
    expand_tool_tags("<calculator><" * 20_000 + "</", load_tools())
    assert time.perf_counter() - started < 2


def test_tools_are_found_by_name() -> None:
    assert [tool.name for tool in load_tools()] == ["calculator", "convert", "date"]
    assert load_tools([f"{__name__}:SLOW"]) == (SLOW,)
    for name, said in (
        ("shell", "expected calculator, convert, date"),
        (f"{__name__}:NONE", "cannot be loaded"),
        (f"{__name__}:SLOW.name", "cannot be loaded"),
        ("datetime:date", "expected a luthier.serving.tools.Tool"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_tools([name])
    with pytest.raises(ConfigError, match="several of slow"):
        load_tools([f"{__name__}:SLOW"] * 2)


@given(
    st.integers(-99, 99),
    st.integers(-99, 99),
    st.integers(1, 99),
    st.sampled_from([("+", Fraction.__add__), ("-", Fraction.__sub__), ("*", Fraction.__mul__)]),
)
def test_arithmetic_is_exact(
    a: int, b: int, c: int, operator: tuple[str, Callable[[Fraction, Fraction], Fraction]]
) -> None:
    sign, twin = operator
    wanted = twin(Fraction(a), Fraction(b)) / c
    assert float(calculate(f"({a} {sign} {b}) / {c}")) == pytest.approx(float(wanted), rel=1e-11, abs=1e-300)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("20% of 50", "10"),
        ("1,000 × 3 = ?", "3000"),
        ("2^10", "1024"),
        ("sqrt(2)^2", "2"),
        ("sqrt(16) + max(1, 2, 3)", "7"),
        ("round(3.14159, 2)", "3.14"),
        ("-7 // 2", "-4"),
        ("7 % 3", "1"),
        ("1/3", "0.333333333333"),
        ("1/30000000", "0.0000000333333333333"),
        ("log(1000)", "3"),
        ("floor(-2.5) + ceil(2.1)", "0"),
    ],
)
def test_values(asked: str, value: str) -> None:
    assert calculate(asked) == value


@pytest.mark.parametrize(
    "asked",
    [
        *("9**9**9", "10**2000", "(10**900)**2", "exp(10000)", "1e999", "sqrt(-1)", "(-8)**0.5", "0**-1"),
        *(
            "__import__('os')",
            "(1).real",
            "[1]",
            "lambda: 1",
            "max()",
            "1 if 1 else 2",
            "",
            "((((",
            "a",
            "1" * 400,
        ),
        "+" * 299,
    ],
)
def test_what_is_no_arithmetic_fails_in_words(asked: str) -> None:
    with pytest.raises(ToolFailed):
        calculate(asked)


@pytest.mark.parametrize(
    ("asked", "factor"),
    [
        ("1 in in m", constants.inch),
        ("1 ft in m", constants.foot),
        ("1 yd in m", constants.yard),
        ("1 mile in m", constants.mile),
        ("1 nmi in m", constants.nautical_mile),
        ("1 lb in kg", constants.pound),
        ("1 oz in kg", constants.ounce),
        ("1 stone in kg", constants.stone),
        ("1 acre in m2", constants.acre),
        ("1 hectare in m2", constants.hectare),
        ("1 gallon in m3", constants.gallon),
        ("1 litre in m3", constants.liter),
        ("1 km/h in m/s", constants.kmh),
        ("1 mph in m/s", constants.mph),
        ("1 knot in m/s", constants.knot),
        ("1 week in s", constants.week),
        ("1 GiB in B", constants.gibi),
    ],
)
def test_units_are_those_of_scipy(asked: str, factor: float) -> None:
    assert float(convert(asked).split()[0]) == pytest.approx(factor, rel=1e-11)


@pytest.mark.parametrize("celsius", [-273.15, -40, 0, 36.6, 100])
def test_temperatures_are_those_of_scipy(celsius: float) -> None:
    wanted = constants.convert_temperature([celsius], "Celsius", "Fahrenheit")[0]
    assert float(convert(f"{celsius} °C to F").split()[0]) == pytest.approx(wanted, abs=1e-9)
    assert float(convert(f"{celsius} degrees celsius in kelvin").split()[0]) == pytest.approx(
        celsius + 273.15
    )


def test_conversions_that_make_no_sense_fail_in_words() -> None:
    for asked, said in (
        ("68 m in kg", "m is a length, kg a mass"),
        ("68 foo in m", "'foo' is no unit"),
        ("m in ft", "expected a conversion"),
        ("20 C in m", "'C' is no unit"),
    ):
        with pytest.raises(ToolFailed, match=said):
            convert(asked)
    assert convert("2 Miles in KM") == "3.218688 km" and convert("1 MB in kB") == "1000 kB"


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(0, 9999))
def test_days_are_those_of_datetime(start: date, days: int) -> None:
    later = start + timedelta(days=days)
    assert dates(f"{start} + {days} days") == later.isoformat()
    assert dates(f"{start} to {later}") == f"{days} days"
    assert dates("today", lambda: start) == f"{start:%A}, {start}"


def test_months_end_where_they_end() -> None:
    assert dates("2024-01-31 + 1 month") == "2024-02-29"
    assert dates("2024-02-29 - 1 year") == "2023-02-28"
    for asked in ("2024-02-30", "2024-01-01 + 999999 years", "soon"):
        with pytest.raises(ToolFailed):
            dates(asked)
