"""Units into others of their kind: `68 m in ft`. Factors are exact, of the international yard and pound and of the SI.

Source: NIST Special Publication 811 (2008), appendix B. Knows nothing of currencies and calendars.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from luthier.serving.tools.calculator import shown
from luthier.serving.tools.tool import Tool, ToolFailed

_INCH, _POUND, _GALLON = "0.0254", "0.45359237", "0.003785411784"  # metres, kilograms, cubic metres
# kind -> the names of each unit, the first one to show, and how many of the kind's SI unit it is
_KINDS: dict[str, tuple[tuple[str, Fraction], ...]] = {
    "length": (
        ("m meter metre meters metres", Fraction(1)),
        ("km kilometer kilometre kilometers kilometres", Fraction(1000)),
        ("cm centimeter centimetre centimeters centimetres", Fraction(1, 100)),
        ("mm millimeter millimetre millimeters millimetres", Fraction(1, 1000)),
        ("in inch inches", Fraction(_INCH)),
        ("ft foot feet", 12 * Fraction(_INCH)),
        ("yd yard yards", 36 * Fraction(_INCH)),
        ("mi mile miles", 63360 * Fraction(_INCH)),
        ("nmi", Fraction(1852)),
    ),
    "mass": (
        ("kg kilogram kilograms", Fraction(1)),
        ("g gram grams", Fraction(1, 1000)),
        ("mg milligram milligrams", Fraction(1, 10**6)),
        ("t tonne tonnes", Fraction(1000)),
        ("lb lbs pound pounds", Fraction(_POUND)),
        ("oz ounce ounces", Fraction(_POUND) / 16),
        ("st stone stones", 14 * Fraction(_POUND)),
    ),
    "time": (
        ("s sec second seconds", Fraction(1)),
        ("ms millisecond milliseconds", Fraction(1, 1000)),
        ("min minute minutes", Fraction(60)),
        ("h hr hour hours", Fraction(3600)),
        ("d day days", Fraction(86400)),
        ("week weeks", Fraction(604800)),
    ),
    "area": (
        ("m2 m²", Fraction(1)),
        ("km2 km²", Fraction(10**6)),
        ("ha hectare hectares", Fraction(10**4)),
        ("ft2 ft²", (12 * Fraction(_INCH)) ** 2),
        ("acre acres", 43560 * (12 * Fraction(_INCH)) ** 2),
    ),
    "volume": (
        ("m3 m³", Fraction(1)),
        ("l liter litre liters litres", Fraction(1, 1000)),
        ("ml milliliter millilitre milliliters millilitres", Fraction(1, 10**6)),
        ("gal gallon gallons", Fraction(_GALLON)),
        ("pt pint pints", Fraction(_GALLON) / 8),
        ("cup cups", Fraction(_GALLON) / 16),
    ),
    "speed": (
        ("m/s", Fraction(1)),
        ("km/h kmh kph", Fraction(10, 36)),
        ("mph", 63360 * Fraction(_INCH) / 3600),
        ("kn knot knots", Fraction(1852, 3600)),
    ),
    "data": (
        ("B byte bytes", Fraction(1)),
        ("kB kilobyte kilobytes", Fraction(10**3)),
        ("MB megabyte megabytes", Fraction(10**6)),
        ("GB gigabyte gigabytes", Fraction(10**9)),
        ("KiB", Fraction(2**10)),
        ("MiB", Fraction(2**20)),
        ("GiB", Fraction(2**30)),
    ),
}
# degrees of a scale -> kelvin: factor * (degrees + offset)
_TEMPERATURES: dict[str, tuple[Fraction, Fraction]] = {
    "°C": (Fraction(1), Fraction("273.15")),
    "°F": (Fraction(5, 9), Fraction("459.67")),
    "K": (Fraction(1), Fraction(0)),
}
_TEMPERATURE_NAMES = {"c": "°C", "celsius": "°C", "°c": "°C", "f": "°F", "fahrenheit": "°F", "°f": "°F"} | {
    "k": "K",
    "kelvin": "K",
}
_ASKED = re.compile(
    r"\s*(-?\d[\d,]*(?:\.\d+)?(?:e-?\d{1,2})?)\s*(?:degrees?\s+)?(\S+?)\s+(?:in|to|into|as)\s+(?:degrees?\s+)?(\S+?)[?.]?\s*",
    re.IGNORECASE,
)


def _names() -> Iterator[tuple[str, tuple[str, str, Fraction]]]:
    for kind, units in _KINDS.items():
        for names, factor in units:
            for name in names.split():
                yield name, (kind, names.split()[0], factor)


_UNITS = dict(_names())
_FOLDED = {name.lower(): unit for name, unit in reversed(_UNITS.items())}


def convert(asked: str) -> str:
    """`68 m in ft` -> `223.097112861 ft`. Raises ToolFailed."""
    match = _ASKED.fullmatch(asked)
    if match is None:
        raise ToolFailed(f"expected a conversion such as '68 m in ft', got {asked[:60]!r}")
    number = Fraction(match[1].replace(",", ""))
    if match[2].lower() in _TEMPERATURE_NAMES and match[3].lower() in _TEMPERATURE_NAMES:
        name = _TEMPERATURE_NAMES[match[3].lower()]
        factor, offset = _TEMPERATURES[_TEMPERATURE_NAMES[match[2].lower()]]
        to_factor, to_offset = _TEMPERATURES[name]
        return f"{shown(factor * (number + offset) / to_factor - to_offset)} {name}"
    (kind, _, factor), (to_kind, name, to_factor) = _unit(match[2]), _unit(match[3])
    if kind != to_kind:
        raise ToolFailed(f"{match[2]} is a {kind}, {match[3]} a {to_kind}")
    return f"{shown(number * factor / to_factor)} {name}"


def _unit(name: str) -> tuple[str, str, Fraction]:
    found = _UNITS.get(name) or _FOLDED.get(name.lower())
    if found is None:
        raise ToolFailed(f"{name[:30]!r} is no unit that I know")
    return found


CONVERT = Tool(
    "convert", "units of length, mass, time, area, volume, speed, data, temperature", "68 m in ft", convert
)
