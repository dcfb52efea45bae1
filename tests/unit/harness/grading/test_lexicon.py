"""The lexicon: its words and sizes, and that its three readers agree where they read the same word."""

from __future__ import annotations

from fractions import Fraction

import pytest

from harness.data.constants import implied
from harness.grading.compare.quantities import parse_number
from harness.grading.lexicon import CARDINALS, UNITS, Unit
from harness.grading.steps.numbers import numbers_in


def test_the_cardinals_are_twenty_eight_words() -> None:
    assert list(CARDINALS.values()) == [*range(20), 20, 30, 40, 50, 60, 70, 80, 90]
    assert (CARDINALS["zero"], CARDINALS["twelve"], CARDINALS["forty"]) == (0, 12, 40)


@pytest.mark.parametrize(
    ("large", "small", "ratio"),
    [
        ("foot", "inch", 12),
        ("yard", "foot", 3),
        ("mile", "foot", 5280),
        ("pound", "ounce", 16),
        ("gallon", "quart", 4),
        ("quart", "pint", 2),
        ("pint", "cup", 2),
        ("week", "day", 7),
        ("year", "month", 12),
        ("litre", "ml", 1000),
        ("dollar", "cent", 100),
    ],
)
def test_sizes_of_units(large: str, small: str, ratio: int) -> None:
    a, b = UNITS[large], UNITS[small]
    assert (a.dimension, a.power) == (b.dimension, b.power)
    assert a.size == ratio * b.size


def test_areas_volumes_and_speeds() -> None:
    assert UNITS["hectare"] == Unit("length", Fraction(100 * 100), 2)  # 100 m x 100 m
    assert UNITS["litre"] == Unit("length", Fraction(1, 10) ** 3, 3)  # 1 dm x 1 dm x 1 dm
    assert UNITS["mph"] == Unit("length", 5280 * 12 * Fraction("0.0254"), 1, Unit("time", Fraction(60 * 60)))


def test_readers_agree_on_number_words() -> None:
    for word, value in CARDINALS.items():
        assert parse_number(word) == value  # also where it begins with another: `four` of `fourteen`
        assert numbers_in(f"{word} apples") == {value}
        assert value == 0 or value in implied(f"{word} apples")
    assert parse_number("two hundred") == 200
    assert numbers_in("a hundred apples") == {100} <= implied("a hundred apples")
    assert parse_number("twice") is None  # in an answer it asks for a factor, in a problem it says 2
    assert numbers_in("twice") == {2}
