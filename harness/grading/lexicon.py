"""English number words, scales, units and the shape of a decimal, for grader, step check and perturbation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

ONES = re.findall(
    r"\w+",
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""",
)
TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
CARDINALS = dict(zip(ONES + TENS, [*range(20), *range(20, 100, 10)], strict=True))
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
LARGE_SCALE = "[mbtr]+illion"  # a pattern for the last three
DOZEN = 12
ORDINALS = re.findall(r"\w+", "third fourth fifth sixth seventh eighth ninth tenth")
# Denominators by the singular of their name; `halve` is what is left of `halves`.
PARTS = {"half": 2, "halve": 2, "quarter": 4}
PARTS |= {name: n for n, name in enumerate(ORDINALS, start=3)}
# Words that count in running text; in an answer they are no numbers (`twice 25`).
COUNTS = {"once": 1, "twice": 2, "thrice": 3, "double": 2, "triple": 3, "pair": 2, "couple": 2, "both": 2}
COUNTS["dozen"] = DOZEN
# `1,250.5`, `25`, `.5`: without a sign.
DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"


@dataclass(frozen=True, slots=True)
class Unit:
    """`size` base units of a dimension to a power: a litre is 1/1000 of length to the third."""

    dimension: str
    size: Fraction
    power: int = 1
    per: Unit | None = None


def _table(dimension: str, text: str, power: int = 1) -> dict[str, Unit]:
    """Units of one dimension by name, from `size name name, ...`; the plural is the name and an `s`."""
    units: dict[str, Unit] = {}
    for entry in text.split(","):
        size, *names = entry.split()
        units |= {name: Unit(dimension, Fraction(size), power) for name in names}
    return units


_METRE = """1 m meter metre, 1/10 dm decimeter decimetre, 1/100 cm centimeter centimetre,
    1/1000 mm millimeter millimetre, 1000 km kilometer kilometre, 0.0254 in inch inche, 0.3048 ft foot feet,
    0.9144 yd yard, 1609.344 mi mile"""
_GRAM = """1 g gram gm, 1/1000 mg milligram, 1000 kg kilogram kilo, 453.59237 lb pound, 907184.74 ton,
    28.349523125 oz ounce"""
_SECOND = "1 s sec second, 1/1000 ms millisecond, 60 min minute, 3600 h hr hour, 86400 day, 604800 week wk"
_CUBIC_METRE = """1/1000 l liter litre, 1/1000000 ml milliliter millilitre cc, 0.003785411784 gal gallon,
    0.000946352946 qt quart, 0.000473176473 pint, 0.0002365882365 cup"""
HOUR = Unit("time", Fraction(3600))
UNITS: dict[str, Unit] = {
    **_table("length", _METRE),
    **_table("mass", _GRAM),
    **_table("time", _SECOND),
    **_table("length", _CUBIC_METRE, power=3),
    **_table("length", "4046.8564224 acre, 10000 hectare", power=2),
    **_table("calendar", "1 month, 12 year yr"),
    **_table("dollars", "1 dollar $ usd buck, 1/100 cent ¢ penny pennie"),
    # As answers, `3 nickels` counts coins and is not 15 cents.
    **_table("nickels", "1 nickel"),
    **_table("dimes", "1 dime"),
    **_table("euros", "1 euro € eur"),
    **_table("sterling", "1 £ gbp"),
    **_table("degrees", "1 degree deg °"),
    **_table("radians", "1 radian rad"),
    **_table("celsius", "1 c celsius"),
    **_table("fahrenheit", "1 f fahrenheit"),
    **_table("percent", "1 % percent"),
}
UNITS |= {
    "mph": Unit("length", UNITS["mile"].size, 1, HOUR),
    "kph": Unit("length", Fraction(1000), 1, HOUR),
    "mps": Unit("length", Fraction(1), 1, Unit("time", Fraction(1))),
}
