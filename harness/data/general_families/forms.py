"""Formatting: the same content in another form."""

from __future__ import annotations

import re
from random import Random

from harness.data.general_families.family import Family, Params, Stated, listed, word

_MONTHS = re.findall(
    r"\w+",
    "January February March April May June July August September October November December",
)


# ---------------------------------------------------------------- dates
def _draw_dates(rng: Random, level: int) -> Params:
    """As many dates as the level, as `day month year`."""
    return tuple(f"{rng.randint(1, 28)} {rng.randint(1, 12)} {rng.randint(1800, 2099)}" for _ in range(level))


def _state_dates(params: Params) -> Stated:
    dates = [tuple(map(int, date.split())) for date in params]
    written = listed([f"{day} {_MONTHS[month - 1]} {year}" for day, month, year in dates])
    form = "this date as YYYY-MM-DD" if len(dates) == 1 else "these dates as YYYY-MM-DD, with commas between"
    return Stated(
        canonical=listed(params),
        text=f"Write {form}: {written}",
        terse=f"iso {written}",
        answer=listed([f"{year:04d}-{month:02d}-{day:02d}" for day, month, year in dates]),
    )


# ---------------------------------------------------------------- names
def _draw_names(rng: Random, level: int) -> Params:
    return tuple(f"{word(rng).capitalize()} {word(rng).capitalize()}" for _ in range(level))


def _state_names(params: Params) -> Stated:
    return Stated(
        canonical=listed(params),
        text="Write the last name first, then a comma and the first name; a semicolon between people: "
        f"{listed(params)}",
        terse=f"last, first {listed(params)}",
        answer="; ".join(f"{last}, {first}" for first, last in map(str.split, params)),
    )


# ---------------------------------------------------------------- capitals
def _draw_case(rng: Random, level: int) -> Params:
    return tuple(word(rng) for _ in range(2 * level))


def _state_case(params: Params) -> Stated:
    text = " ".join(params)
    return Stated(text, f"Write this in capital letters: {text}", f"capitals {text}", text.upper())


# ---------------------------------------------------------------- joined by a sign
def _draw_joined(rng: Random, level: int) -> Params:
    """The sign, then words."""
    return (rng.choice("-_/|"), *(word(rng) for _ in range(2 + 2 * level)))


def _state_joined(params: Params) -> Stated:
    sign, *words = params
    text = " ".join(words)
    return Stated(
        canonical=f"{sign}:{text}",
        text=f"Write these words with {sign} between them in the place of the blanks: {text}",
        terse=f"join {sign} {text}",
        answer=sign.join(words),
    )


FAMILIES = (
    Family("format_date", "formatting", _draw_dates, _state_dates),
    Family("format_name", "formatting", _draw_names, _state_names),
    Family("capitals", "formatting", _draw_case, _state_case),
    Family("join", "formatting", _draw_joined, _state_joined),
)
